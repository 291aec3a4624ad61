"""A frozen large audio-language model: what it is asked, what it hears, and where its heads are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from calm.extract.media.percept import Percept
from calm.extract.models.conversation import about_sound, about_video
from calm.extract.models.decoder import DecoderHeads, find_heads
from calm.extract.models.families import Family, family_of
from calm.extract.models.identity import PROBE, processor_digest, weights_digest
from calm.extract.models.silence import fitting, trim
from calm.extract.models.stacking import stack_inputs
from calm.extract.senses import MOST_FRAMES, SOUND_ALONE, Senses

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LALM:
    """A frozen model with its processor, ready to be recorded."""

    name: str  #: as it was asked for
    model: Any  #: a transformers model in evaluation mode, or the part of one that reads text and sound
    processor: Any
    revision: str | None = None  #: commit of a hub checkpoint
    checkpoint: str = ""  #: what :func:`checkpoint_of` told when it was loaded; empty where that is not known

    @cached_property
    def heads(self) -> DecoderHeads:
        """The attention heads of the text decoder."""
        return find_heads(self.model)

    @property
    def family(self) -> Family:
        """What sets its family of models apart."""
        return family_of(self.model.config)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> str:
        """Of the decoder's computation, as ``"float32"``, ``"bfloat16"`` or ``"float16"``."""
        return str(self.model.get_input_embeddings().weight.dtype).removeprefix("torch.")

    @property
    def extractor(self) -> Any:
        """What makes features of waveforms, under either of the names that processors have for it; None without."""
        return getattr(self.processor, "feature_extractor", None) or getattr(self.processor, "audio_processor", None)

    @property
    def sampling_rate(self) -> int:
        """In Hz, of the waveforms that the processor takes."""
        return int(self.extractor.sampling_rate)

    @cached_property
    def window_seconds(self) -> float | None:
        """The longest clip the model hears whole; None where it sets no limit."""
        if self.family.window_seconds is not None:
            return self.family.window_seconds(self.model.config, self.extractor)
        samples = getattr(self.extractor, "n_samples", None) or _cut_at(self.extractor)
        longest = getattr(self.processor, "max_audio_len", None)  # seconds, of processors that take many windows
        if samples is not None and longest is not None:
            return float(longest * self.sampling_rate // samples * samples / self.sampling_rate)
        if samples is not None:
            return None if self._hears_more_than(samples) else float(samples / self.sampling_rate)
        tokens, each = (getattr(self.processor, name, None) for name in ("audio_seq_length", "audio_ms_per_token"))
        return None if tokens is None or each is None else tokens * each / 1000

    def limit_seconds(self, max_seconds: float | None = None, senses: Senses = SOUND_ALONE) -> float | None:
        """Tell where clips are cut: where it is asked for, at the window, or at as many pictures as are looked at."""
        most = MOST_FRAMES / senses.fps if senses.sees else None
        return min((s for s in (max_seconds, self.window_seconds, most) if s is not None), default=None)

    def _hears_more_than(self, samples: int) -> bool:
        """Whether a longer clip has more tokens: the processor takes it apart, or as it is."""
        import numpy as np

        chat = self.chat("What is it?")
        clips = [np.zeros(n, dtype=np.float32) for n in (samples, samples + self.sampling_rate)]
        shorter, longer = (self.prepare([clip], [chat])["input_ids"].shape[1] for clip in clips)
        return bool(longer > shorter)

    @cached_property
    def weights_digest(self) -> str:
        """A fingerprint of the weights themselves, whatever they are called and wherever they lie."""
        return weights_digest(self.model)

    def processor_digest(self, senses: Senses = SOUND_ALONE) -> str:
        """Digest how a clip and a text become inputs."""
        return processor_digest(self.processor, self.extractor, self._tokens(self.chat(PROBE, senses)), senses)

    def _tokens(self, prompt: str) -> list[int]:
        tokenizer = self.processor.tokenizer
        if self.family.tokens is not None:
            return self.family.tokens(tokenizer, prompt)
        return tokenizer(prompt, **self._special_tokens(prompt))["input_ids"]

    def chat(self, text: str, senses: Senses = SOUND_ALONE) -> str:
        """Put the model's chat template round one clip and a text, up to where the model would answer.

        Raises
        ------
        ValueError
            If the template leaves out the text or the clip, wherever they are, or the model takes no videos and is to
            see one.
        """
        if senses.sees and self.family.pictures is None:
            raise ValueError(f"model {self.name!r} is shown no videos here: qwen2.5-omni and qwen3-omni can be")
        about = about_video if senses.sees else about_sound
        prompt = about(self.processor, self.family, text)
        if prompt is None:
            what = "video" if senses.sees else "sound"
            raise ValueError(f"the chat template of model {self.name!r} has no place for a {what} and a text beside it")
        return prompt

    def _special_tokens(self, prompt: str) -> Mapping[str, bool]:
        """Keep a tokenizer from beginning a prompt once more that its template has begun, as transformers does."""
        begin = self.processor.tokenizer.bos_token
        return {"add_special_tokens": False} if begin is not None and prompt.startswith(begin) else {}

    def together(self, clips: Sequence[Percept | NDArray[np.float32]]) -> list[list[int]]:
        """Split a batch into parts that go through the model together without a clip hearing another's padding.

        Returns
        -------
        list of list of int
            Numbers of clips: all in one part, for most families.
        """
        family = self.family
        parts: dict[int, list[int]] = {}
        for number, clip in enumerate(clips):
            percept = Percept.of(clip, self.sampling_rate)
            samples = 0 if percept.samples is None else len(percept.samples)
            shares = percept.samples is None or family.shares_from <= samples / self.sampling_rate <= family.shares_to
            part = -1 - number if not shares else 0 if family.mixes_lengths else samples
            parts.setdefault(part, []).append(number)
        return list(parts.values())

    def inputs(
        self,
        clips: Sequence[Percept | NDArray[np.float32]],
        prompts: Sequence[str],
        *,
        senses: Senses = SOUND_ALONE,
        padding_side: Literal["left", "right"] = "right",
    ) -> Mapping[str, Any]:
        """Turn clips and rendered prompts into the model's inputs, on its device.

        Padding goes on the right, where causal attention cannot see it: a prompt keeps the positions that it has
        alone. On the left, it leaves room for an answer to follow.

        Parameters
        ----------
        clips : sequence of Percept, or of float32 arrays (samples,)
            From :func:`calm.extract.media.perceive`; or bare waveforms, mono, at :attr:`sampling_rate`. Such as may go
            :meth:`together`.
        prompts : sequence of str
            From :meth:`chat`, one a clip.
        senses : Senses
            The same as for :meth:`chat`, and for perceiving.
        padding_side : {"right", "left"}
        """
        return self.on_device(self.prepare(clips, prompts, senses=senses, padding_side=padding_side))

    def prepare(
        self,
        clips: Sequence[Percept | NDArray[np.float32]],
        prompts: Sequence[str],
        *,
        senses: Senses = SOUND_ALONE,
        padding_side: Literal["left", "right"] = "right",
        silence: bool = True,
    ) -> Mapping[str, torch.Tensor]:
        """Do what :meth:`inputs` does, but stay on the CPU: without the model, and so ahead of it.

        Clips go to the processor one by one, and are put together then: what fills up a clip in a batch (silence, where
        the end is reflected for a clip alone) would reach its last frames.

        Parameters
        ----------
        clips, prompts, senses, padding_side
            As for :meth:`inputs`.
        silence : bool
            False leaves out what fills up an encoder's window where no clip can hear it (:mod:`.silence`);
            it takes :meth:`model_for` these inputs then.
        """
        percepts = [Percept.of(clip, self.sampling_rate) for clip in clips]
        if self.family.inputs is not None:
            waveforms = [percept.samples for percept in percepts]
            batch = self.family.inputs(self.processor, self.model.config, waveforms, prompts, padding_side)
        else:
            short = not silence and self._can_leave_silence_out
            pairs = zip(percepts, prompts, strict=True)
            rows = [self._row(percept, prompt, senses, short) for percept, prompt in pairs]
            batch = stack_inputs(rows, self.processor.tokenizer.pad_token_id or 0, padding_side)
            batch = trim(batch) if short else batch
        dtype, pinned = self.model.dtype, self.device.type == "cuda"
        return {name: _as_input(value, dtype, pinned=pinned) for name, value in batch.items()}

    def _row(self, percept: Percept, prompt: str, senses: Senses, short: bool) -> Mapping[str, torch.Tensor]:
        """Make inputs of one clip; how its sound is padded is the processor's affair, for most families."""
        sound: Mapping[str, Any] = {}
        if percept.samples is not None and self.family.sound is not None and (short or not self.family.masks_silence):
            sound = self.family.sound(self.extractor, len(percept.samples))
        if percept.frames is not None and self.family.pictures is not None:
            frames, how = percept.frames, (senses.fps, senses.max_pixels)
            return self.family.pictures(
                self.processor, prompt, frames, *how, percept.samples, self.sampling_rate, sound
            )
        return self.processor(
            text=[prompt],
            audio=[percept.samples],
            sampling_rate=self.sampling_rate,
            return_tensors="pt",
            **({"audio_kwargs": sound} if sound else {}),
            **self._special_tokens(prompt),
        )

    @property
    def marks(self) -> list[int]:
        """The tokens that stand for sound or pictures, as far as the processor tells them."""
        names = (getattr(self.processor, name, None) for name in ("audio_token", "video_token"))
        return [self.processor.tokenizer.convert_tokens_to_ids(name) for name in names if name]

    @property
    def _can_leave_silence_out(self) -> bool:
        spread = hasattr(self.model, "hf_device_map")  # its parts call back to those they were made of
        return self.family.masks_silence and not spread

    def model_for(self, inputs: Mapping[str, Any]) -> Any:
        """Return the model as it takes inputs that were prepared without silence."""
        return fitting(self.model, inputs["input_features"].shape[-1]) if self._can_leave_silence_out else self.model

    def on_device(self, prepared: Mapping[str, torch.Tensor]) -> Mapping[str, Any]:
        """Bring what :meth:`prepare` made to the model's device, and add what its forward pass is told besides."""
        moved = {name: tensor.to(self.device, non_blocking=True) for name, tensor in prepared.items()}
        return {**moved, **self.family.arguments(prepared)}


def _as_input(tensor: torch.Tensor, dtype: torch.dtype, *, pinned: bool) -> torch.Tensor:
    """Bring features to the model's dtype, in memory from which a GPU copies while it computes.

    A number for each clip is none: times in seconds must not be rounded.
    """
    tensor = tensor.to(dtype) if tensor.is_floating_point() and tensor.ndim > 1 else tensor
    return tensor.pin_memory() if pinned else tensor


def _cut_at(extractor: Any) -> int | None:
    """Return where a feature extractor cuts waveforms unless told otherwise, in samples."""
    options = inspect.signature(type(extractor).__call__).parameters
    length, cuts = (getattr(options.get(name), "default", None) for name in ("max_length", "truncation"))
    return length if isinstance(length, int) and cuts is True else None
