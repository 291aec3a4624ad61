"""Table of what distinguishes each family of models, beyond what its configuration and processor specify.

A model that is not in the table uses the Auto classes of transformers, its own chat template and processor, and the
heads that :func:`calm.extract.find_heads` finds in its decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from calm.extract.models.omni import omni_inputs, omni_sound_in_video
from calm.extract.models.voxtral import voxtral_inputs, voxtral_tokens


def _no_kwargs(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Family:
    """Differences of one family of models from the default behaviour."""

    no_prompt: str | None = None  #: reason why the family takes no prompt, and so cannot be used
    mixes_lengths: bool = True  #: clips of different lengths may share a batch: padding does not change their vectors
    min_batched_seconds: float = 0  #: shorter clips run in a batch of one
    max_batched_seconds: float = math.inf  #: longer clips run in a batch of one
    masks_padding: bool = False  #: the encoder masks the padding of a clip; see ``models/window_padding.py``
    audio_kwargs: Callable[[Any, int], Mapping[str, Any]] | None = None
    """``(feature_extractor, n_samples)`` -> arguments of the feature extractor."""
    window_seconds: Callable[[Any, Any], float] | None = None
    """``(config, feature_extractor)`` -> maximum clip length in seconds."""
    adapter: str | None = None  #: folder of the checkpoint that holds the audio adapter
    answer_prefix: str = ""  #: text between the rendered chat template and the answer
    forward_kwargs: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _no_kwargs
    """``(inputs)`` -> additional arguments of the forward pass."""
    chat_template: str | None = None  #: prompt around ``{text}``, for checkpoints without a chat template
    tokenize: Callable[[Any, str], list[int]] | None = None  #: ``(tokenizer, prompt)`` -> token ids
    build_inputs: Callable[..., Mapping[str, Any]] | None = None
    """``(processor, config, waveform, prompt)`` -> model inputs of one clip."""
    build_video_inputs: Callable[..., Mapping[str, Any]] | None = None
    """Model inputs of one clip with video; see :func:`calm.extract.models.omni.omni_inputs` for the arguments."""


def _fun_asr_nano_window(config: Any, extractor: Any) -> float:
    """Return the length in seconds of the encoder's position table, whose first entry is unused."""
    positions = config.audio_config.max_position_embeddings - 1
    return float(positions * extractor.stride_lfr * extractor.frame_shift / 1000)


def _shorten_spectrogram(extractor: Any, samples: int) -> Mapping[str, Any]:
    """End a spectrogram soon after the clip instead of at the window's end; the frames of the clip stay the same.

    It keeps three frames more than the clip has, because its last frames and the convolutions over them reach these.
    Multiples of eight limit the number of different lengths and are divisible by the strides.
    """
    frames = -(-samples // extractor.hop_length) + 3
    frames = -(-frames // 8) * 8
    return {"max_length": min(frames * extractor.hop_length, extractor.n_samples)}


_TRANSCRIBES = "it only transcribes streaming audio"

#: Differences of each family, by ``config.model_type``.
FAMILIES: Mapping[str, Family] = {
    "audioflamingo3": Family(masks_padding=True),
    # The encoder raises an exception for clips longer than its position table.
    "fun_asr_nano": Family(window_seconds=_fun_asr_nano_window),
    # The temporal convolutions look ahead into the padding, which is not masked.
    "gemma3n": Family(mixes_lengths=False),
    # Neither the encoder nor the windows of the projector have a mask.
    "granite_speech": Family(mixes_lengths=False),
    "granite_speech_plus": Family(mixes_lengths=False),
    # The model first writes the kind of content that follows.
    "inkling_mm_model": Family(answer_prefix="<|content_text|>"),
    "kyutai_speech_to_text": Family(no_prompt=_TRANSCRIBES),
    "musicflamingo": Family(masks_padding=True),
    # A convolution over the encoder's frames, for speaker detection, reads the padding next to the last frame.
    "nemo_speechlm": Family(mixes_lengths=False),
    # If the number of frames is divisible by eight, the language model receives one frame more than the encoder's mask.
    "nemotron_h_omni": Family(mixes_lengths=False),
    # The mask is added to attention scores as 1 and 0. Clips over 40 s are split, which does not work in a batch.
    "phi4_multimodal": Family(mixes_lengths=False, max_batched_seconds=40, adapter="speech-lora"),
    # The processor computes the spectrogram of a whole window, which is 300 s.
    "qwen2_5_omni_thinker": Family(
        audio_kwargs=_shorten_spectrogram, build_video_inputs=omni_inputs, forward_kwargs=omni_sound_in_video
    ),
    "qwen2_audio": Family(masks_padding=True, audio_kwargs=_shorten_spectrogram),
    # The encoder works on chunks of one second. In a shorter chunk, convolutions without a mask read the padding, whose
    # amount depends on the batch.
    "qwen3_omni_moe_thinker": Family(
        min_batched_seconds=1, build_video_inputs=omni_inputs, forward_kwargs=omni_sound_in_video
    ),
    # By default each forward pass adds new random noise to the audio. The chat template does not begin the answer.
    "vibevoice_asr": Family(forward_kwargs=lambda _: {"sample": False}, answer_prefix="<|im_start|>assistant\n"),
    # There is no chat template, and the processor takes audio only as files, by means of mistral-common.
    "voxtral": Family(
        chat_template="<s>[INST][BEGIN_AUDIO][AUDIO]{text}[/INST]", tokenize=voxtral_tokens, build_inputs=voxtral_inputs
    ),
    "voxtral_realtime": Family(no_prompt=_TRANSCRIBES),
}


def family_of(config: Any) -> Family:
    """Return the family of a model, by ``config.model_type``.

    Examples
    --------
    >>> from transformers import AutoConfig
    >>> family_of(AutoConfig.for_model("voxtral_realtime")).no_prompt
    'it only transcribes streaming audio'
    """
    return FAMILIES.get(config.model_type, Family())
