from __future__ import annotations

from pathlib import Path

from transformers import (
    InklingConfig,
    InklingFeatureExtractor,
    InklingForConditionalGeneration,
    InklingImageProcessor,
    InklingProcessor,
)

from tests.extract.models.families.common import byte_tokenizer, save

SPECIAL = (
    "<|content_model_end_sampling|>",
    "<|message_user|>",
    "<|message_model|>",
    "<|message_system|>",
    "<|content_text|>",
    "<|content_image|>",
    "<|content_audio_input|>",
    "<|audio_end|>",
    "<|end_message|>",
    "<|unused_200053|>",
    "<|unused_200054|>",
)

#: Message structure of thinkingmachines/Inkling: content lists with {"type": "audio"}, one message per part, the thinking effort first.
TEMPLATE = (
    "<|message_system|><|content_text|>Thinking effort level: 0.9<|end_message|>"
    "{% for m in messages %}{% set role = '<|message_' + ('model' if m.role == 'assistant' else m.role) + '|>' %}"
    "{% for part in ([{'type': 'text', 'text': m.content}] if m.content is string else m.content) %}{{ role }}"
    "{% if part.type == 'audio' %}<|content_audio_input|><|unused_200053|><|audio_end|>"
    "{% else %}<|content_text|>{{ part.text }}{% endif %}<|end_message|>{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|message_model|>{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Inkling: 3 layers (sliding dense, sliding sparse, full sparse) of 4 query heads of dimension 12; short convolutions, no rotary positions."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|content_model_end_sampling|>", pad="<|content_model_end_sampling|>")
    ids = tokenizer.convert_tokens_to_ids
    config = InklingConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 12,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 2,
            "swa_head_dim": 12,
            "sliding_window_size": 8,
            "d_rel": 4,
            "rel_extent": 16,
            "layer_types": ["hybrid_sliding", "hybrid_sliding", "hybrid"],
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "intermediate_size": 48,
            "moe_intermediate_size": 16,
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "n_shared_experts": 2,
            "logits_mup_width_multiplier": 1.0,
            "log_scaling_n_floor": 128000,
            "unpadded_vocab_size": len(tokenizer) - 1,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        audio_config={"n_mel_bins": 16, "mel_vocab_size": 16},
        vision_config={"patch_size": 4, "num_hidden_layers": 2, "hidden_size": 16},
        image_token_id=ids("<|unused_200054|>"),
        audio_token_id=ids("<|unused_200053|>"),
        image_bos_token_id=ids("<|content_image|>"),
        audio_bos_token_id=ids("<|content_audio_input|>"),
    )
    processor = InklingProcessor(
        InklingFeatureExtractor(feature_size=16),
        InklingImageProcessor(size={"height": 4, "width": 4}),
        tokenizer,
        chat_template=TEMPLATE,
    )
    save(folder, InklingForConditionalGeneration(config), processor)
    return 3, 4, 12
