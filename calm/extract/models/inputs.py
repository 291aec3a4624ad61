"""Model inputs built from clips and texts by a processor, without the model's weights."""

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
from calm.extract.models.window_padding import trim_windows
from calm.extract.prompt import MAX_TEXT_LENGTH

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

PaddingSide = Literal["left", "right"]


class InputError(ValueError):
    """Error for a clip or a question that a model's processor refuses; the message gives the reason.

    See Also
    --------
    calm.extract.InputBuilder : Builder that raises this error.

    Examples
    --------
    >>> from calm.extract import load_input_builder
    >>> try:
    ...     load_input_builder("tiny").chat("Is it <|AUDIO|>?")
    ... except InputError as error:
    ...     print(error)
    the question contains '<|AUDIO|>', the placeholder of the clip: remove it
    """


@dataclass(frozen=True)
class InputBuilder:
    """Builder of a model's inputs from clips and texts, without the model's weights.

    Parameters
    ----------
    processor : transformers.ProcessorMixin
        Processor of the model.
    family : Family
        What distinguishes the model's family, from ``calm/extract/models/families.py``.
    config : transformers.PreTrainedConfig
        Configuration of the model.
    name : str, default=""
        Name of the model in messages.
    dtype : torch.dtype, default=None
        Dtype of the features. None keeps the processor's.

    See Also
    --------
    calm.extract.load_input_builder : Load the builder of a checkpoint, without its weights.
    calm.extract.LALM : A loaded model, whose ``builder`` is an instance.

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
        """Feature extractor of the processor, under either of its two usual names; None if there is none."""
        return getattr(self.processor, "feature_extractor", None) or getattr(self.processor, "audio_processor", None)

    @property
    def sampling_rate(self) -> int:
        """Sampling rate, in Hz, of the waveforms that the processor takes."""
        return int(self.extractor.sampling_rate)

    @property
    def media_token_ids(self) -> list[int]:
        """Ids of the placeholder tokens for audio and video that the processor defines."""
        return [self.processor.tokenizer.convert_tokens_to_ids(token) for token in self._media_tokens]

    @property
    def _media_tokens(self) -> list[str]:
        tokens = (getattr(self.processor, name, None) for name in ("audio_token", "video_token"))
        return [token for token in tokens if token]

    @cached_property
    def window_seconds(self) -> float | None:
        """Maximum clip length in seconds that the model takes without a cut; None if it sets no limit."""
        if self.family.window_seconds is not None:
            return self.family.window_seconds(self.config, self.extractor)
        samples = getattr(self.extractor, "n_samples", None) or _default_max_samples(self.extractor)
        max_seconds = getattr(self.processor, "max_audio_len", None)  # of processors that take several windows
        if samples is not None and max_seconds is not None:
            return float(max_seconds * self.sampling_rate // samples * samples / self.sampling_rate)
        if samples is not None:
            return None if self._takes_more_than(samples) else float(samples / self.sampling_rate)
        tokens, token_ms = (getattr(self.processor, name, None) for name in ("audio_seq_length", "audio_ms_per_token"))
        return None if tokens is None or token_ms is None else tokens * token_ms / 1000

    def _takes_more_than(self, samples: int) -> bool:
        """Return whether a longer clip has more tokens, because the processor does not cut it at this length."""
        prompt = self.chat("What is it?")
        clips = [np.zeros(n, dtype=np.float32) for n in (samples, samples + self.sampling_rate)]
        shorter, longer = (self.prepare([clip], [prompt])["input_ids"].shape[1] for clip in clips)
        return bool(longer > shorter)

    def limit_seconds(self, max_seconds: float | None = None, media_options: MediaOptions = AUDIO_ONLY) -> float | None:
        """Return the length at which clips are cut.

        Parameters
        ----------
        max_seconds : float, default=None
            Requested maximum length in seconds. None means no request.
        media_options : MediaOptions, default=AUDIO_ONLY
            Whether the model receives audio, video, or both. The number of video frames is limited.

        Returns
        -------
        float or None
            Smallest of the requested length, the model's window and the length of the maximum number of frames, in
            seconds. None if there is no limit.
        """
        frames_seconds = MAX_FRAMES / media_options.frame_rate if media_options.uses_video else None
        limits = (max_seconds, self.window_seconds, frames_seconds)
        return min((seconds for seconds in limits if seconds is not None), default=None)

    def digest(self, media_options: MediaOptions = AUDIO_ONLY) -> str:
        """Compute a digest of how clips and texts become model inputs.

        Parameters
        ----------
        media_options : MediaOptions, default=AUDIO_ONLY
            Whether the model receives audio, video, or both.

        Returns
        -------
        str
            16 hexadecimal digits.
        """
        return processor_digest(
            self.processor, self.extractor, self._tokenize(self.chat(PROBE, media_options)), media_options
        )

    def _tokenize(self, prompt: str) -> list[int]:
        tokenizer = self.processor.tokenizer
        if self.family.tokenize is not None:
            return self.family.tokenize(tokenizer, prompt)
        return tokenizer(prompt, **self._special_tokens(prompt))["input_ids"]

    def _special_tokens(self, prompt: str) -> Mapping[str, bool]:
        """Prevent a second beginning-of-sequence token if the chat template adds one, as transformers does."""
        bos_token = self.processor.tokenizer.bos_token
        return {"add_special_tokens": False} if bos_token is not None and prompt.startswith(bos_token) else {}

    def chat(self, text: str, media_options: MediaOptions = AUDIO_ONLY) -> str:
        """Render the model's chat template for one clip and a text, up to the beginning of the answer.

        Parameters
        ----------
        text : str
            Prompt text of the clip, from :meth:`calm.extract.Prompt.text`.
        media_options : MediaOptions, default=AUDIO_ONLY
            Whether the model receives the audio of the clip, its video, or both.

        Returns
        -------
        str
            Rendered prompt, with one placeholder for the clip.

        Raises
        ------
        InputError
            If the text contains a placeholder for audio or video, or is too long.
        ValueError
            If the template drops the text or the clip, or video is requested and the model takes none.
        """
        if len(text) > MAX_TEXT_LENGTH:
            raise InputError(f"the question has more than {MAX_TEXT_LENGTH} characters: shorten it")
        for token in self._media_tokens:
            if token in text:
                raise InputError(f"the question contains {token!r}, the placeholder of the clip: remove it")
        if media_options.uses_video and self.family.build_video_inputs is None:
            raise ValueError(
                f"video is not supported for model {self.name!r}: use qwen2.5-omni or qwen3-omni, or modality audio"
            )
        render = render_video_prompt if media_options.uses_video else render_audio_prompt
        prompt = render(self.processor, self.family, text)
        if prompt is None:
            kind = "video" if media_options.uses_video else "audio"
            raise ValueError(f"the chat template of model {self.name!r} drops the {kind} or the text of a message")
        return prompt

    def split_by_length(self, clips: Sequence[DecodedClip | NDArray[np.float32]]) -> list[list[int]]:
        """Split clips into batches in which padding does not change the head vectors of any clip.

        Parameters
        ----------
        clips : sequence of DecodedClip, or of float32 arrays of shape (n_samples,)
            Decoded clips, or mono waveforms at :attr:`sampling_rate`.

        Returns
        -------
        list of list of int
            Indices of the clips in each batch. Most model families need a single batch.
        """
        family = self.family
        parts: dict[int, list[int]] = {}
        for index, clip in enumerate(clips):
            decoded = DecodedClip.from_waveform(clip, self.sampling_rate)
            samples = 0 if decoded.samples is None else len(decoded.samples)
            seconds = samples / self.sampling_rate
            may_share = decoded.samples is None or family.min_batched_seconds <= seconds <= family.max_batched_seconds
            part = -1 - index if not may_share else 0 if family.mixes_lengths else samples
            parts.setdefault(part, []).append(index)
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
        """Build the model inputs of a batch of clips and rendered prompts, on the CPU.

        Parameters
        ----------
        clips : sequence of DecodedClip, or of float32 arrays of shape (n_samples,)
            Clips from :func:`calm.extract.decode_clip`, or mono waveforms at :attr:`sampling_rate`. They must be able
            to share a batch, as :meth:`split_by_length` returns them.
        prompts : sequence of str
            Rendered prompts from :meth:`chat`, one per clip.
        media_options : MediaOptions, default=AUDIO_ONLY
            Whether the model receives audio, video, or both: the same as for :meth:`chat` and for decoding.
        padding_side : {"right", "left"}, default="right"
            Side on which prompts are padded. With padding on the right, a prompt keeps its positions, and causal
            attention never reads the padding. With padding on the left, an answer directly follows each prompt.
        full_window : bool, default=True
            False removes the silence that pads clips to the encoder's window, if the encoder masks it. Such inputs
            need the model that :meth:`calm.extract.LALM.model_for` returns.

        Returns
        -------
        dict of str to tensor
            Model inputs, one row per clip.

        Raises
        ------
        InputError
            If the processor refuses a clip or its prompt, but accepts others.

        Notes
        -----
        The processor takes clips one by one, and their inputs are stacked afterwards. Some processors reflect the end
        of a single clip, but pad it with silence in a batch, which changes its last frames.
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
        """Build the model inputs of each clip separately, for :meth:`stack`.

        Parameters
        ----------
        clips, prompts, media_options, full_window
            As for :meth:`prepare`.

        Returns
        -------
        list of mapping of str to tensor
            Model inputs of each clip.
        """
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
        """Build the model inputs of one clip.

        Parameters
        ----------
        clip : DecodedClip, or float32 array of shape (n_samples,)
            Decoded clip, or mono waveform at :attr:`sampling_rate`.
        prompt : str
            Rendered prompt from :meth:`chat`.
        media_options, full_window
            As for :meth:`prepare`.

        Returns
        -------
        mapping of str to tensor
            Model inputs of the clip.

        Raises
        ------
        InputError
            If the processor refuses this clip or its prompt, but accepts another one.
        """
        decoded = DecodedClip.from_waveform(clip, self.sampling_rate)
        try:
            row = self._process(decoded, prompt, media_options, full_window)
        except Exception as error:  # a processor may raise any exception: find out whether the clip causes it
            if is_internal_error(error) or not self._accepts_control_clip(media_options, full_window):
                raise
            raise InputError(f"the processor refused its audio or its question: {short_message(error)}") from error
        tokens, context = row["input_ids"].shape[1], self.context
        if context is not None and tokens > context:
            raise InputError(
                f"its prompt has {tokens} tokens, more than the model's context of {context}: "
                f"shorten the clip or the question"
            )
        return row

    @cached_property
    def context(self) -> int | None:
        """Maximum number of prompt tokens, from the model's config; None if the config does not limit it."""
        length = getattr(self.config.get_text_config(decoder=True), "max_position_embeddings", None)
        return length if isinstance(length, int) and length > 0 else None

    def count_tokens(self, text: str, seconds: float) -> int:
        """Count the prompt tokens of a clip, including those that stand for its audio.

        Parameters
        ----------
        text : str
            Prompt text, from :meth:`calm.extract.Prompt.text`.
        seconds : float
            Length of the audio in seconds.

        Returns
        -------
        int
            Number of tokens.

        Raises
        ------
        InputError
            If the text cannot be used.
        """
        samples = self.control_clip().samples
        assert samples is not None
        waveform = np.resize(samples, round(seconds * self.sampling_rate))
        return int(self.row(waveform, self.chat(text))["input_ids"].shape[1])

    def control_clip(self, media_options: MediaOptions = AUDIO_ONLY) -> DecodedClip:
        """Return a clip that every model must accept: one second of faint noise, and grey frames.

        Parameters
        ----------
        media_options : MediaOptions, default=AUDIO_ONLY
            Whether the clip has audio, video, or both.

        Returns
        -------
        DecodedClip
            The same clip in every call.
        """
        samples = frames = None
        if media_options.uses_audio:
            samples = 0.01 * np.random.default_rng(0).standard_normal(self.sampling_rate).astype(np.float32)
        if media_options.uses_video:
            frames = np.full((max(2, math.ceil(media_options.frame_rate)), 56, 56, 3), 128, dtype=np.uint8)
        return DecodedClip(samples, frames, 1.0, 0.05)

    def _accepts_control_clip(self, media_options: MediaOptions, full_window: bool) -> bool:
        try:
            self._process(self.control_clip(media_options), self.chat(PROBE, media_options), media_options, full_window)
        except Exception:  # noqa: BLE001 - the caller raises the first exception again, which is more informative
            return False
        return True

    def _process(
        self, decoded: DecodedClip, prompt: str, media_options: MediaOptions, full_window: bool
    ) -> Mapping[str, torch.Tensor]:
        """Apply the processor, or the function that replaces it for a model family, to one clip."""
        if self.family.build_inputs is not None:
            return self.family.build_inputs(self.processor, self.config, decoded.samples, prompt)
        audio_kwargs: Mapping[str, Any] = {}
        # Where the encoder masks padding, a shortened spectrogram needs a model with a shortened window.
        may_shorten = self._trims_windows(full_window) or not self.family.masks_padding
        if decoded.samples is not None and self.family.audio_kwargs is not None and may_shorten:
            audio_kwargs = self.family.audio_kwargs(self.extractor, len(decoded.samples))
        if decoded.frames is not None and self.family.build_video_inputs is not None:
            frames, limits = decoded.frames, (media_options.frame_rate, media_options.frame_pixels)
            return self.family.build_video_inputs(
                self.processor, prompt, frames, *limits, decoded.samples, self.sampling_rate, audio_kwargs
            )
        return self.processor(
            text=[prompt],
            audio=[decoded.samples],
            sampling_rate=self.sampling_rate,
            return_tensors="pt",
            **({"audio_kwargs": audio_kwargs} if audio_kwargs else {}),
            **self._special_tokens(prompt),
        )

    def stack(
        self,
        rows: Sequence[Mapping[str, torch.Tensor]],
        *,
        padding_side: PaddingSide = "right",
        full_window: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Stack the model inputs of single clips into a batch.

        Parameters
        ----------
        rows : sequence of mapping of str to tensor
            Model inputs of each clip, from :meth:`row`.
        padding_side, full_window
            As for :meth:`prepare`.

        Returns
        -------
        dict of str to tensor
            Model inputs, one row per clip.
        """
        batch = stack_inputs(rows, self._pad_token, padding_side)
        batch = trim_windows(batch) if self._trims_windows(full_window) else batch
        return {name: self._cast_features(value) for name, value in batch.items()}

    @property
    def _pad_token(self) -> int:
        return self.processor.tokenizer.pad_token_id or 0

    def _trims_windows(self, full_window: bool) -> bool:
        return not full_window and self.family.masks_padding

    def _cast_features(self, tensor: torch.Tensor) -> torch.Tensor:
        """Cast features to the model's dtype, but not one number per clip: times in seconds must not be rounded."""
        if self.dtype is not None and tensor.is_floating_point() and tensor.ndim > 1:
            return tensor.to(self.dtype)
        return tensor


def _default_max_samples(extractor: Any) -> int | None:
    """Return the number of samples at which a feature extractor cuts waveforms by default; None if it does not."""
    parameters = inspect.signature(type(extractor).__call__).parameters
    length, truncates = (getattr(parameters.get(name), "default", None) for name in ("max_length", "truncation"))
    return length if isinstance(length, int) and truncates is True else None
