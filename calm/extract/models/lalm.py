"""A frozen large audio-language model: its weights, its attention heads and the builder of its inputs."""

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
from calm.extract.models.window_padding import shorten_encoder_window

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from calm.extract.media.decoded_clip import DecodedClip


@dataclass(frozen=True)
class LALM:
    """Frozen large audio-language model with its processor.

    Use :func:`calm.extract.load_lalm` to create an instance.

    Parameters
    ----------
    name : str
        Name with which the model was loaded: an alias, a hub id or a folder.
    model : transformers.PreTrainedModel
        Model in evaluation mode. For Omni models, only the part that reads text and audio.
    processor : transformers.ProcessorMixin
        Processor of the model.
    revision : str, default=None
        Requested branch, tag or commit of a hub checkpoint.
    commit : str, default=None
        Commit of a hub checkpoint that was loaded.
    checkpoint : str, default=""
        State of the checkpoint when it was loaded, from :func:`calm.extract.checkpoint_state`. Empty if unknown.
    quantize : {"int8", "nf4"}, default=None
        Quantization of the weights of linear layers. None means no quantization.

    See Also
    --------
    calm.extract.load_lalm : Load a model by its name.
    calm.Request.load : Load the model of a request.

    Examples
    --------
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny", device="cpu")
    >>> lalm.heads.shape, lalm.device, lalm.dtype
    ((6, 8, 32), device(type='cpu'), 'float32')
    """

    name: str
    model: Any
    processor: Any
    revision: str | None = None
    commit: str | None = None
    checkpoint: str = ""
    quantize: str | None = None

    @cached_property
    def heads(self) -> DecoderHeads:
        """Attention heads of the text decoder."""
        return find_heads(self.model)

    @property
    def family(self) -> Family:
        """What distinguishes the model's family; see ``calm/extract/models/families.py``."""
        return family_of(self.model.config)

    @cached_property
    def builder(self) -> InputBuilder:
        """Builder of the model's inputs, which needs no weights."""
        return InputBuilder(self.processor, self.family, self.model.config, self.name, self.model.dtype)

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> str:
        """Dtype of the decoder's computation: ``"float32"``, ``"bfloat16"`` or ``"float16"``."""
        return str(self.model.get_input_embeddings().weight.dtype).removeprefix("torch.")

    @cached_property
    def weights_digest(self) -> str:
        """Digest of the weights, which depends neither on the model's name nor on its location."""
        return weights_digest(self.model)

    def inputs(
        self,
        clips: Sequence[DecodedClip | NDArray[np.float32]],
        prompts: Sequence[str],
        *,
        media_options: MediaOptions = AUDIO_ONLY,
        padding_side: PaddingSide = "right",
    ) -> Mapping[str, Any]:
        """Build the arguments of a forward pass from clips and rendered prompts, on the model's device.

        Parameters
        ----------
        clips : sequence of DecodedClip, or of float32 arrays of shape (n_samples,)
            Decoded clips, or mono waveforms at the builder's sampling rate.
        prompts : sequence of str
            Rendered prompts, one per clip, from :meth:`calm.extract.InputBuilder.chat`.
        media_options : MediaOptions, default=AUDIO_ONLY
            Whether the model receives audio, video, or both.
        padding_side : {"right", "left"}, default="right"
            Side on which prompts are padded. Use ``"left"`` for generation.

        Returns
        -------
        mapping of str to tensor
            Arguments of a forward pass, one row per clip.
        """
        return self.on_device(
            self.builder.prepare(clips, prompts, media_options=media_options, padding_side=padding_side)
        )

    @property
    def needs_full_window(self) -> bool:
        """Whether inputs must include the silence that pads clips to the encoder's window.

        See ``calm/extract/models/window_padding.py``.
        """
        uses_device_map = hasattr(self.model, "hf_device_map")  # its hooks refer to the original modules, not to copies
        return uses_device_map or not self.family.masks_padding

    def model_for(self, inputs: Mapping[str, Any]) -> Any:
        """Return the model with an encoder window as long as that of the inputs.

        Parameters
        ----------
        inputs : mapping of str to tensor
            Arguments of a forward pass, with or without the silence that pads clips to the full window.

        Returns
        -------
        transformers.PreTrainedModel
            ``model`` itself, or a copy that shares its weights.
        """
        return (
            self.model
            if self.needs_full_window
            else shorten_encoder_window(self.model, inputs["input_features"].shape[-1])
        )

    def on_device(self, prepared: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        """Move prepared inputs to the model's device, and add the other arguments of its forward pass.

        Parameters
        ----------
        prepared : mapping of str to tensor
            Model inputs from :meth:`calm.extract.InputBuilder.prepare`.

        Returns
        -------
        mapping of str to tensor
            Arguments of a forward pass.
        """
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in prepared.items()}
        return {**moved, **self.family.forward_kwargs(prepared)}
