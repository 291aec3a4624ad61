"""A frozen large audio-language model: its weights, where its heads are, and what makes its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from calm.extract.media_options import AUDIO_ONLY, MediaOptions
from calm.extract.models.decoder import DecoderHeads, find_heads
from calm.extract.models.digest import weights_digest
from calm.extract.models.families import Family, family_of
from calm.extract.models.inputs import InputBuilder, PaddingSide
from calm.extract.models.window_padding import fitting

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from calm.extract.media.decoded_clip import DecodedClip


@dataclass(frozen=True)
class LALM:
    """A frozen model with its processor, ready to be recorded.

    See Also
    --------
    calm.extract.load_lalm : Loads one.
    calm.extract.Request.load : Loads the one that a request names.
    """

    name: str  #: as it was asked for
    model: Any  #: a transformers model in evaluation mode, or the part of one that reads text and sound
    processor: Any
    revision: str | None = None  #: branch, tag or commit of a hub checkpoint, as it was asked for
    commit: str | None = None  #: which commit of a hub checkpoint that was
    checkpoint: str = ""  #: what :func:`checkpoint_state` gave when it was loaded; empty where that is not known
    quantize: str | None = None  #: "int8" or "nf4" where weights were loaded in fewer bits

    @cached_property
    def heads(self) -> DecoderHeads:
        """The attention heads of the text decoder."""
        return find_heads(self.model)

    @property
    def family(self) -> Family:
        """What sets its family of models apart."""
        return family_of(self.model.config)

    @cached_property
    def builder(self) -> InputBuilder:
        """What makes its inputs, ahead of the model and without it."""
        return InputBuilder(self.processor, self.family, self.model.config, self.name, self.model.dtype)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> str:
        """Of the decoder's computation, as ``"float32"``, ``"bfloat16"`` or ``"float16"``."""
        return str(self.model.get_input_embeddings().weight.dtype).removeprefix("torch.")

    @cached_property
    def weights_digest(self) -> str:
        """A digest of the weights themselves, whatever they are called and wherever they lie."""
        return weights_digest(self.model)

    def inputs(
        self,
        clips: Sequence[DecodedClip | NDArray[np.float32]],
        prompts: Sequence[str],
        *,
        media_options: MediaOptions = AUDIO_ONLY,
        padding_side: PaddingSide = "right",
    ) -> Mapping[str, Any]:
        """Turn clips and rendered prompts into the model's inputs, on its device, as a forward pass takes them.

        Parameters
        ----------
        clips, prompts, media_options, padding_side
            As :meth:`calm.extract.InputBuilder.prepare` takes them.
        """
        return self.on_device(
            self.builder.prepare(clips, prompts, media_options=media_options, padding_side=padding_side)
        )

    @property
    def needs_full_window(self) -> bool:
        """Whether inputs need the silence that fills up an encoder's window; see :mod:`.full_window`."""
        spread = hasattr(self.model, "hf_device_map")  # its parts call back to those they were made of
        return spread or not self.family.masks_padding

    def model_for(self, inputs: Mapping[str, Any]) -> Any:
        """Return the model as it takes inputs that were prepared with or without silence."""
        return self.model if self.needs_full_window else fitting(self.model, inputs["input_features"].shape[-1])

    def on_device(self, prepared: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        """Bring prepared inputs to the model's device, and add what its forward pass is told besides."""
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in prepared.items()}
        return {**moved, **self.family.arguments(prepared)}
