"""Tiny models of every family, with the real classes and processors. Each module builds and saves one.

``build(folder)`` of a module writes a checkpoint and returns the expected ``(layers, heads, dim)``. Some modules do not
use the chat template of the released checkpoint, but a short one for messages of the same structure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A supported family and the expected properties of its tiny model."""

    module: str
    window_seconds: float | None = None  #: window of the tiny model; None for no limit
    sampling_rate: int = 16000
    needs: tuple[str, ...] = ()  #: packages that its processor needs
    plain_attention: bool = True  #: standard attention, with or without rotary position embeddings


_PICTURES = ("torchvision",)

CASES = {
    "audioflamingo3": Case("audioflamingo3", 4.0),
    "dots3_note": Case("dots3_note", needs=_PICTURES, plain_attention=False),
    "fun_asr_nano": Case("fun_asr_nano", 2.0, needs=("torchaudio",)),
    "gemma3n": Case("gemma3n", 30.0, needs=("torchvision", "timm")),
    "gemma4": Case("gemma4", 30.0, needs=_PICTURES),
    "gemma4_unified": Case("gemma4_unified", 30.0, needs=_PICTURES),
    "glmasr": Case("glmasr", 4.0),
    "granite_speech": Case("granite_speech", needs=("torchaudio",)),
    "granite_speech_plus": Case("granite_speech_plus", needs=("torchaudio",)),
    "inkling_mm_model": Case("inkling", needs=_PICTURES, plain_attention=False),
    "moss_transcribe_diarize": Case("moss_transcribe_diarize"),
    "muse_spark": Case("muse_spark", sampling_rate=24000, needs=_PICTURES, plain_attention=False),
    "musicflamingo": Case("musicflamingo", 4.0),
    "nemo_speechlm": Case("nemo_speechlm"),
    "nemotron_h_omni": Case("nemotron_h_omni", needs=_PICTURES),
    "phi4_multimodal": Case("phi4_multimodal", needs=_PICTURES),
    "qwen2_5_omni_thinker": Case("qwen2_5_omni", 2.0, needs=_PICTURES),
    "qwen2_audio": Case("qwen2_audio", 2.0),
    "qwen3_asr": Case("qwen3_asr"),
    "qwen3_omni_moe_thinker": Case("qwen3_omni_moe", needs=_PICTURES),
    "vibevoice_asr": Case("vibevoice_asr", sampling_rate=24000),
    "voxtral": Case("voxtral"),
}
