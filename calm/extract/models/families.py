"""What sets a family of models apart, where neither its configuration nor its processor tells: one small table.

A model that is not in it goes the generic way: transformers' Auto classes, its own chat template and processor, and
whatever :func:`calm.extract.find_heads` finds in its decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from calm.extract.models.omni import omni_inputs, omni_sound_in_video
from calm.extract.models.voxtral import voxtral_inputs, voxtral_tokens


def _nothing(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Family:
    """How one family departs from the generic way."""

    no_prompt: str | None = None  #: it cannot be asked anything: what it does instead
    mixes_lengths: bool = True  #: clips of unequal length may go through together, and none hears another's padding
    shares_from: float = 0  #: shorter clips, in seconds, go through alone
    shares_to: float = math.inf  #: longer clips go through alone
    masks_padding: bool = False  #: its encoder masks what is beyond the end of a clip; see :mod:`.silence`
    sound: Callable[[Any, int], Mapping[str, Any]] | None = None
    """Of a feature extractor and a number of samples: what the processor is told about a clip's sound."""
    window_seconds: Callable[[Any, Any], float] | None = None  #: of its config and its feature extractor
    adapter: str | None = None  #: folder of the checkpoint with the adapter by which it understands sound
    header: str = ""  #: what the chat template leaves to the model to write before its answer
    arguments: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _nothing
    """Of a batch of inputs: what its forward pass is told besides."""
    chat: str | None = None  #: goes round ``{text}``, where there is no chat template
    tokens: Callable[[Any, str], list[int]] | None = None  #: of a tokenizer and a rendered prompt
    inputs: Callable[..., Mapping[str, Any]] | None = None
    """Of a processor, a model's config, a waveform and a rendered prompt: the inputs of one clip."""
    pictures: Callable[..., Mapping[str, Any]] | None = None
    """It can be shown videos: of a processor, a rendered prompt, frames, their rate, and their sound or None."""


def _positions_of_fun_asr_nano(config: Any, extractor: Any) -> float:
    """Tell how far the encoder's table of positions goes, the first of which is unused."""
    positions = config.audio_config.max_position_embeddings - 1
    return float(positions * extractor.stride_lfr * extractor.frame_shift / 1000)


def _no_longer_than_needed(extractor: Any, samples: int) -> Mapping[str, Any]:
    """End a spectrogram soon after the clip, and not at the window's end: frames of the clip stay the same.

    Three more than the clip has, which its last ones and convolutions over them reach, and in steps of eight, so that
    there are few different lengths, and none that strides do not divide.
    """
    frames = -(-samples // extractor.hop_length) + 3
    frames = -(-frames // 8) * 8
    return {"max_length": min(frames * extractor.hop_length, extractor.n_samples)}


_TRANSCRIBES = "it writes down what it hears as it hears it"

#: By ``config.model_type``.
FAMILIES: Mapping[str, Family] = {
    "audioflamingo3": Family(masks_padding=True),
    # Clips that are longer than its table of positions fail in its encoder.
    "fun_asr_nano": Family(window_seconds=_positions_of_fun_asr_nano),
    # Its convolutions over time look ahead, unmasked.
    "gemma3n": Family(mixes_lengths=False),
    # There is no mask in the encoder, nor in the windows of the projector.
    "granite_speech": Family(mixes_lengths=False),
    "granite_speech_plus": Family(mixes_lengths=False),
    # It says first what kind of content follows.
    "inkling_mm_model": Family(header="<|content_text|>"),
    "kyutai_speech_to_text": Family(no_prompt=_TRANSCRIBES),
    "musicflamingo": Family(masks_padding=True),
    # A convolution over the encoder's frames, which decides on who speaks, sees the padding beside the last of them.
    "nemo_speechlm": Family(mixes_lengths=False),
    # The language model is given one frame more than the encoder masks in, where a clip's frames divide by eight.
    "nemotron_h_omni": Family(mixes_lengths=False),
    # Its mask is added to attention scores as 1 and 0; longer clips, which it cuts up, it cannot take in a batch.
    "phi4_multimodal": Family(mixes_lengths=False, shares_to=40, adapter="speech-lora"),
    # Its processor computes the spectrogram of a whole window, which is 300 s.
    "qwen2_5_omni_thinker": Family(sound=_no_longer_than_needed, pictures=omni_inputs, arguments=omni_sound_in_video),
    "qwen2_audio": Family(masks_padding=True, sound=_no_longer_than_needed),
    # It hears in chunks of a second: unmasked convolutions see what fills up a shorter one, which depends on the batch.
    "qwen3_omni_moe_thinker": Family(shares_from=1, pictures=omni_inputs, arguments=omni_sound_in_video),
    # It adds noise, drawn anew in every pass, to what it hears, unless told not to. Its template begins no answer.
    "vibevoice_asr": Family(arguments=lambda _: {"sample": False}, header="<|im_start|>assistant\n"),
    # It has no chat template, and its processor takes sounds from files only, and only by means of mistral-common.
    "voxtral": Family(chat="<s>[INST][BEGIN_AUDIO][AUDIO]{text}[/INST]", tokens=voxtral_tokens, inputs=voxtral_inputs),
    "voxtral_realtime": Family(no_prompt=_TRANSCRIBES),
}


def family_of(config: Any) -> Family:
    """Look up what sets a model's family apart.

    Examples
    --------
    >>> from transformers import AutoConfig
    >>> family_of(AutoConfig.for_model("voxtral_realtime")).no_prompt
    'it writes down what it hears as it hears it'
    """
    return FAMILIES.get(config.model_type, Family())
