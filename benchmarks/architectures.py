"""Build the architectures of released models with random weights, on which the speed does not depend.

Their processors have the released feature extractors, but the tokenizer of ``tiny``. A prompt has other token ids than
with the released tokenizer, and about as many tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AutoProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from calm.extract import LALM, load_lalm
from calm.extract.models.tiny import CHECKPOINT

_ENCODER = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}


def build(name: str, device: str, dtype: torch.dtype) -> LALM:
    """Build a model by name: ``tiny``, ``small``, ``qwen2-audio`` or ``qwen2.5-omni``."""
    if name == "tiny":
        return load_lalm("tiny", device=device, dtype=str(dtype).removeprefix("torch."))
    torch.manual_seed(0)
    with torch.device(device):
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            model, processor = _BUILDERS[name]()
        finally:
            torch.set_default_dtype(default)
    return LALM(name, model.eval().requires_grad_(False), processor)


def _qwen2_audio(**smaller: Any) -> tuple[Any, Any]:
    tokenizer = _tokenizer()
    text = {
        "model_type": "qwen2",
        "vocab_size": 156032,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 8192,
    }
    config = Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **_ENCODER, **smaller.get("encoder", {})},
        text_config=text | smaller.get("text", {}),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer)
    return Qwen2AudioForConditionalGeneration(config), processor


def _small() -> tuple[Any, Any]:
    """Build Qwen2-Audio with few narrow layers and a window of 30 s, to test the benchmarks."""
    encoder = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128}
    text = {
        "vocab_size": 2000,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    return _qwen2_audio(encoder=encoder, text=text)


def _qwen2_5_omni() -> tuple[Any, Any]:
    tokenizer = _tokenizer()
    config = Qwen2_5OmniThinkerConfig(
        audio_config={**_ENCODER, "num_mel_bins": 128, "output_dim": 3584},
        vision_config={"depth": 1},  # unused: the clips have no video
        text_config={
            "vocab_size": 152064,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    # This processor gives the same inputs for audio and text as that of Qwen2.5-Omni, which needs torchvision.
    processor = Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=128, chunk_length=300), tokenizer)
    return Qwen2_5OmniThinkerForConditionalGeneration(config), processor


def _tokenizer() -> PreTrainedTokenizerFast:
    return AutoProcessor.from_pretrained(CHECKPOINT).tokenizer


_BUILDERS = {"small": _small, "qwen2-audio": _qwen2_audio, "qwen2.5-omni": _qwen2_5_omni}
