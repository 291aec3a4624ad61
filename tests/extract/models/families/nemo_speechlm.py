from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    Nemotron3_5TranscribeConfig,
    Nemotron3_5TranscribeForConditionalGeneration,
    Nemotron3_5TranscribeProcessor,
    NemotronAsrStreamingFeatureExtractor,
)

from tests.extract.models.families.common import byte_tokenizer, save

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
#: Message structure of nvidia/NVIDIA-Nemotron-3.5-Transcribe-30B-A4B: content lists with {"type": "audio"}
#: and {"type": "text"}. By default the model thinks before it answers.
TEMPLATE = (
    "<|im_start|>system\n<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'audio' %}<|audio|>{% elif c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think></think>{% endif %}{% endif %}"
)

#: All layer types: Mamba, attention (two of seven), a mixture of experts, a plain feed-forward block.
LAYERS = ["linear_attention", "moe", "full_attention", "linear_attention", "mlp", "full_attention", "moe"]


def text_config(vocab_size: int) -> dict[str, Any]:
    return {
        "model_type": "nemotron_h",
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "head_dim": 12,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "layers_block_type": LAYERS,
        "intermediate_size": 48,
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "n_groups": 2,
        "ssm_state_size": 8,
        "chunk_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "moe_shared_expert_intermediate_size": 24,
    }


def build(folder: Path) -> tuple[int, int, int]:
    """Nemotron 3.5 Transcribe: 2 attention layers of 7, of 4 query heads in 2 groups, head dimension 12."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>")
    tokenizer.add_tokens(
        ["<|audio|>"], special_tokens=True
    )  # as in the release, outside the language model's vocabulary
    encoder = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Nemotron3_5TranscribeConfig(
        audio_config={
            "asr_config": {**encoder, "num_mel_bins": 16},
            "diarization_config": {
                "model_type": "nemotron3_diarization",
                "audio_config": {**encoder, "num_mel_bins": 16},
                "head_config": {"hidden_size": 8, "num_speakers": 2, "audio_hidden_size": 16},
                "streaming_config": {"num_speakers": 2, "speaker_cache_length": 8},
            },
        },
        text_config=text_config(len(tokenizer) - 1),
        word_timestamp_config={**encoder, "num_hidden_layers": 1, "vocab_size": 20, "blank_token_id": 19},
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio|>"),
    )
    extractor = NemotronAsrStreamingFeatureExtractor(feature_size=16)
    processor = Nemotron3_5TranscribeProcessor(
        extractor, tokenizer, byte_tokenizer(("<pad>",), eos="<pad>", pad="<pad>", size=260), chat_template=TEMPLATE
    )
    save(folder, Nemotron3_5TranscribeForConditionalGeneration(config), processor)
    return 2, 4, 12
