"""A clip and a text in, a model's inputs out: all that a processor does, and no weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from calm.extract.errors import is_internal_error, short_message
from calm.extract.media.decoded_clip import DecodedClip
from calm.extract.media_options import AUDIO_ONLY, MAX_FRAMES, MediaOptions
from calm.extract.models.chat_template import render_audio_prompt, render_video_prompt
from calm.extract.models.digest import PROBE, processor_digest
from calm.extract.models.families import Family
from calm.extract.models.stacking import stack_inputs
from calm.extract.models.window_padding import trim
from calm.extract.prompt import MAX_TEXT_LENGTH

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

PaddingSide = Literal["left", "right"]


class InputError(ValueError):
    """A clip, or its question, that a model's processor cannot take; the message says why."""


@dataclass(frozen=True)
class InputBuilder:
    """Makes a model's inputs of clips and texts, without the model.

    Parameters
    ----------
    processor : transformers.ProcessorMixin
    family : Family
        What sets the model's family apart.
    config : transformers.PreTrainedConfig
        The model's.
    name : str, default=""
        What to call the model in messages.
    dtype : torch.dtype, default=None
        Of features; as the processor makes them unless given.

    See Also
    --------
    calm.extract.load_input_builder : Loads one for a checkpoint, without its weights.

    Examples
    --------
    >>> from calm.extract import load_input_builder
    >>> builder = load_input_builder("tiny")
    >>> builder.sampling_rate, builder.window_seconds
    (16000, 5.0)
    >>> sorted(builder.prepare([np.zeros(16000, dtype=np.float32)], [builder.chat("What is this?")]))
    ['attention_mask', 'feature_attention_mask', 'input_features', 'input_ids']
    """

    processor: Any
    family: Family
    config: Any
    name: str = ""
    dtype: torch.dtype | None = None

    @property
    def extractor(self) -> Any:
        """What makes features of waveforms, under either of the names that processors have for it; None without."""
        return getattr(self.processor, "feature_extractor", None) or getattr(self.processor, "audio_processor", None)

    @property
    def sampling_rate(self) -> int:
        """In Hz, of the waveforms that the processor takes."""
        return int(self.extractor.sampling_rate)

    @property
    def media_token_ids(self) -> list[int]:
        """The tokens that stand for sound or pictures, as far as the processor names them."""
        return [self.processor.tokenizer.convert_tokens_to_ids(mark) for mark in self._media_tokens]

    @property
    def _media_tokens(self) -> list[str]:
        names = (getattr(self.processor, name, None) for name in ("audio_token", "video_token"))
        return [name for name in names if name]

    @cached_property
    def window_seconds(self) -> float | None:
        """The longest clip the model hears whole; None where it sets no limit."""
        if self.family.window_seconds is not None:
            return self.family.window_seconds(self.config, self.extractor)
        samples = getattr(self.extractor, "n_samples", None) or _cut_at(self.extractor)
        longest = getattr(self.processor, "max_audio_len", None)  # seconds, of processors that take many windows
        if samples is not None and longest is not None:
            return float(longest * self.sampling_rate // samples * samples / self.sampling_rate)
        if samples is not None:
            return None if self._hears_more_than(samples) else float(samples / self.sampling_rate)
        tokens, each = (getattr(self.processor, name, None) for name in ("audio_seq_length", "audio_ms_per_token"))
        return None if tokens is None or each is None else tokens * each / 1000

    def _hears_more_than(self, samples: int) -> bool:
        """Whether a longer clip has more tokens: the processor takes it apart, or as it is."""
        chat = self.chat("What is it?")
        clips = [np.zeros(n, dtype=np.float32) for n in (samples, samples + self.sampling_rate)]
        shorter, longer = (self.prepare([clip], [chat])["input_ids"].shape[1] for clip in clips)
        return bool(longer > shorter)

    def limit_seconds(self, max_seconds: float | None = None, media_options: MediaOptions = AUDIO_ONLY) -> float | None:
        """Return where clips are cut: where it is asked for, at the window, or at as many pictures as are looked at."""
        most = MAX_FRAMES / media_options.frame_rate if media_options.uses_video else None
        return min((s for s in (max_seconds, self.window_seconds, most) if s is not None), default=None)

    def digest(self, media_options: MediaOptions = AUDIO_ONLY) -> str:
        """Digest how a clip and a text become inputs."""
        return processor_digest(
            self.processor, self.extractor, self._tokens(self.chat(PROBE, media_options)), media_options
        )

    def _tokens(self, prompt: str) -> list[int]:
        tokenizer = self.processor.tokenizer
        if self.family.tokens is not None:
            return self.family.tokens(tokenizer, prompt)
        return tokenizer(prompt, **self._special_tokens(prompt))["input_ids"]

    def _special_tokens(self, prompt: str) -> Mapping[str, bool]:
        """Keep a tokenizer from beginning a prompt once more that its template has begun, as transformers does."""
        begin = self.processor.tokenizer.bos_token
        return {"add_special_tokens": False} if begin is not None and prompt.startswith(begin) else {}

    def chat(self, text: str, media_options: MediaOptions = AUDIO_ONLY) -> str:
        """Put the model's chat template round one clip and a text, up to where the model would answer.

        Raises
        ------
        InputError
            If the text holds what stands for a sound or pictures, or is too long.
        ValueError
            If the template leaves out the text or the clip, wherever they are, or the model takes no videos and is to
            see one.
        """
        if len(text) > MAX_TEXT_LENGTH:
            raise InputError(f"the text to ask has more than {MAX_TEXT_LENGTH} characters")
        for mark in self._media_tokens:
            if mark in text:
                raise InputError(f"the text to ask holds {mark!r}, which stands for the clip itself")
        if media_options.uses_video and self.family.pictures is None:
            raise ValueError(f"model {self.name!r} is shown no videos here: qwen2.5-omni and qwen3-omni can be")
        about = render_video_prompt if media_options.uses_video else render_audio_prompt
        prompt = about(self.processor, self.family, text)
        if prompt is None:
            what = "video" if media_options.uses_video else "sound"
            raise ValueError(f"the chat template of model {self.name!r} has no place for a {what} and a text beside it")
        return prompt

    def split_by_length(self, clips: Sequence[DecodedClip | NDArray[np.float32]]) -> list[list[int]]:
        """Split a batch into parts that go through the model together without a clip hearing another's padding.

        Returns
        -------
        list of list of int
            Numbers of clips: all in one part, for most families.
        """
        family = self.family
        parts: dict[int, list[int]] = {}
        for number, clip in enumerate(clips):
            decoded = DecodedClip.from_waveform(clip, self.sampling_rate)
            samples = 0 if decoded.samples is None else len(decoded.samples)
            shares = decoded.samples is None or family.shares_from <= samples / self.sampling_rate <= family.shares_to
            part = -1 - number if not shares else 0 if family.mixes_lengths else samples
            parts.setdefault(part, []).append(number)
        return list(parts.values())

    def prepare(
        self,
        clips: Sequence[DecodedClip | NDArray[np.float32]],
        prompts: Sequence[str],
        *,
        media_options: MediaOptions = AUDIO_ONLY,
        padding_side: PaddingSide = "right",
        full_window: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Turn clips and rendered prompts into inputs, on the CPU.

        Clips go to the processor one by one, and are put together then: what fills up a clip in a batch (silence, where
        the end is reflected for a clip alone) would reach its last frames. Padding goes on the right, where causal
        attention cannot see it: a prompt keeps the positions that it has alone. On the left, it leaves room for an
        answer to follow.

        Parameters
        ----------
        clips : sequence of DecodedClip, or of float32 arrays (samples,)
            From :func:`calm.extract.decode_clip`; or bare waveforms, mono, at :attr:`sampling_rate`. Such as may go
            :meth:`split_by_length`.
        prompts : sequence of str
            From :meth:`chat`, one a clip.
        media_options : MediaOptions, default=AUDIO_ONLY
            The same as for :meth:`chat`, and for perceiving.
        padding_side : {"right", "left"}, default="right"
        full_window : bool, default=True
            False leaves out what fills up an encoder's window where no clip can hear it; it takes
            :meth:`calm.extract.LALM.model_for` these inputs then.

        Returns
        -------
        dict of str to tensor

        Raises
        ------
        InputError
            If the processor cannot take a clip or its prompt, but does take others.
        """
        rows = self.rows(clips, prompts, media_options=media_options, full_window=full_window)
        return self.stack(rows, padding_side=padding_side, full_window=full_window)

    def rows(
        self,
        clips: Sequence[DecodedClip | NDArray[np.float32]],
        prompts: Sequence[str],
        *,
        media_options: MediaOptions = AUDIO_ONLY,
        full_window: bool = True,
    ) -> list[Mapping[str, torch.Tensor]]:
        """Make the inputs of each clip alone, for :meth:`stack` to put together."""
        pairs = zip(clips, prompts, strict=True)
        return [self.row(clip, prompt, media_options=media_options, full_window=full_window) for clip, prompt in pairs]

    def row(
        self,
        clip: DecodedClip | NDArray[np.float32],
        prompt: str,
        *,
        media_options: MediaOptions = AUDIO_ONLY,
        full_window: bool = True,
    ) -> Mapping[str, torch.Tensor]:
        """Make the inputs of one clip.

        Raises
        ------
        InputError
            If the processor cannot take this clip or its prompt, but does take another.
        """
        decoded = DecodedClip.from_waveform(clip, self.sampling_rate)
        try:
            row = self._row(decoded, prompt, media_options, full_window)
        except Exception as error:  # processors raise what they like: whose fault it is has to be found out
            if is_internal_error(error) or not self._accepts_control_clip(media_options, full_window):
                raise
            raise InputError(
                f"its sound or its question is refused by the processor: {short_message(error)}"
            ) from error
        tokens, context = row["input_ids"].shape[1], self.context
        if context is not None and tokens > context:
            raise InputError(f"its prompt has {tokens} tokens, and the model's context is {context}")
        return row

    @cached_property
    def context(self) -> int | None:
        """How many tokens a prompt may have, as far as the model's config tells."""
        length = getattr(self.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return length if isinstance(length, int) and length > 0 else None

    def control_clip(self, media_options: MediaOptions = AUDIO_ONLY) -> DecodedClip:
        """Return a clip that any model must be able to take: a second of faint noise, and grey pictures."""
        samples = frames = None
        if media_options.uses_audio:
            samples = 0.01 * np.random.default_rng(0).standard_normal(self.sampling_rate).astype(np.float32)
        if media_options.uses_video:
            frames = np.full((max(2, math.ceil(media_options.frame_rate)), 56, 56, 3), 128, dtype=np.uint8)
        return DecodedClip(samples, frames, 1.0, 0.05)

    def _accepts_control_clip(self, media_options: MediaOptions, full_window: bool) -> bool:
        try:
            self._row(self.control_clip(media_options), self.chat(PROBE, media_options), media_options, full_window)
        except Exception:  # noqa: BLE001 - the first exception is raised again, and tells more
            return False
        return True

    def _row(
        self, decoded: DecodedClip, prompt: str, media_options: MediaOptions, full_window: bool
    ) -> Mapping[str, torch.Tensor]:
        """How the sound is padded is the processor's affair, for most families."""
        if self.family.inputs is not None:
            return self.family.inputs(self.processor, self.config, decoded.samples, prompt)
        sound: Mapping[str, Any] = {}
        trimmed = self._leaves_out(full_window)
        if decoded.samples is not None and self.family.sound is not None and (trimmed or not self.family.masks_padding):
            sound = self.family.sound(self.extractor, len(decoded.samples))
        if decoded.frames is not None and self.family.pictures is not None:
            frames, how = decoded.frames, (media_options.frame_rate, media_options.frame_pixels)
            return self.family.pictures(
                self.processor, prompt, frames, *how, decoded.samples, self.sampling_rate, sound
            )
        return self.processor(
            text=[prompt],
            audio=[decoded.samples],
            sampling_rate=self.sampling_rate,
            return_tensors="pt",
            **({"audio_kwargs": sound} if sound else {}),
            **self._special_tokens(prompt),
        )

    def stack(
        self,
        rows: Sequence[Mapping[str, torch.Tensor]],
        *,
        padding_side: PaddingSide = "right",
        full_window: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Put inputs that were made clip by clip together."""
        batch = stack_inputs(rows, self._pad_token, padding_side)
        batch = trim(batch) if self._leaves_out(full_window) else batch
        return {name: self._as_input(value) for name, value in batch.items()}

    @property
    def _pad_token(self) -> int:
        return self.processor.tokenizer.pad_token_id or 0

    def _leaves_out(self, full_window: bool) -> bool:
        return not full_window and self.family.masks_padding

    def _as_input(self, tensor: torch.Tensor) -> torch.Tensor:
        """Bring features to the model's dtype. A number for each clip is none: times in seconds must not be rounded."""
        if self.dtype is not None and tensor.is_floating_point() and tensor.ndim > 1:
            return tensor.to(self.dtype)
        return tensor


def _cut_at(extractor: Any) -> int | None:
    """Return where a feature extractor cuts waveforms unless told otherwise, in samples."""
    options = inspect.signature(type(extractor).__call__).parameters
    length, cuts = (getattr(options.get(name), "default", None) for name in ("max_length", "truncation"))
    return length if isinstance(length, int) and cuts is True else None
