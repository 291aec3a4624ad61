from __future__ import annotations

from pathlib import Path

from transformers import (
    Dots3NoteConfig,
    Dots3NoteFeatureExtractor,
    Dots3NoteForConditionalGeneration,
    Dots3NoteProcessor,
    Qwen2VLImageProcessor,
    Qwen3VLVideoProcessor,
)

from tests.extract.models.families.common import byte_tokenizer, save

SPECIAL = (
    "<|endoftext|>",
    "<|user|>",
    "<|endofuser|>",
    "<|assistant|>",
    "<|endofassistant|>",
    "<|system|>",
    "<|endofsystem|>",
    "<|img|>",
    "<|imgpad|>",
    "<|endofimg|>",
    "<|video_pad|>",
    "<|audio_comp_start|>",
    "<|audio_comp_pad|>",
    "<|audio_comp_end|>",
)

#: Turns and audio placeholders of dots-studio/dots3-note-prev; content lists with {"type": "audio"}.
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% for part in ([{'type': 'text', 'text': m.content}] if m.content is string else m.content) %}"
    "{{ '<|audio_comp_start|><|audio_comp_pad|><|audio_comp_end|>' if part.type == 'audio' else part.text }}{% endfor %}<|endof{{ m.role }}|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build(folder: Path, swa_heads: int = 2) -> tuple[int, int, int]:
    """dots3 Note: 4 layers (indexed dense, indexed sparse, two sliding sparse) with latent attention; 4 query heads in the indexed layers, 2 in the sliding ones, dimension 12."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|endofassistant|>", pad="<|endoftext|>")
    ids = tokenizer.convert_tokens_to_ids
    config = Dots3NoteConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "moe_intermediate_size": 16,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "n_routed_experts": 6,
            "num_experts_per_tok": 2,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 12,
            "head_dim": 16,
            "shared_experts_intermediate_size": 16,
            "index_topk": 24,
            "index_head_dim": 8,
            "index_n_heads": 16,
            "layer_types": ["full_attention", "full_attention", "sliding_attention", "sliding_attention"],
            "sliding_window_size": 8,
            "swa_num_attention_heads": swa_heads,
            "swa_num_key_value_heads": swa_heads,
            "swa_q_lora_rank": 16,
            "swa_kv_lora_rank": 20,
            "swa_head_dim": 16,
            "swa_qk_nope_head_dim": 12,
            "swa_qk_rope_head_dim": 4,
            "swa_v_head_dim": 12,
            "max_position_embeddings": 512,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "moe_intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 2,
            "pyramid_num_routed": [-1, 2],
            "adapter_in_dim": 16,
            "adapter_out_dim": 32,
        },
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "feature_size": 16,
            "downsample_hidden_size": 4,
            "adapter_input_size": 16,
            "adapter_out_dim": 32,
        },
        image_token_id=ids("<|imgpad|>"),
        video_token_id=ids("<|video_pad|>"),
        audio_token_id=ids("<|audio_comp_pad|>"),
    )
    vision = {"patch_size": 2, "temporal_patch_size": 1, "merge_size": 2}
    processor = Dots3NoteProcessor(
        Qwen2VLImageProcessor(**vision),
        tokenizer,
        Qwen3VLVideoProcessor(**vision),
        Dots3NoteFeatureExtractor(feature_size=16, chunk_length=1),
        chat_template=TEMPLATE,
    )
    save(folder, Dots3NoteForConditionalGeneration(config), processor)
    return 4, max(4, swa_heads), 12
