from __future__ import annotations

from pathlib import Path

from transformers import (
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
    Qwen3OmniMoeProcessor,
    WhisperFeatureExtractor,
)

from tests.extract.models.families.common import DECODER, byte_tokenizer, save
from tests.extract.models.families.qwen2_5_omni import PIXELS

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_pad|>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
)
NAMED = {
    "image_token": "<|image_pad|>",
    "audio_token": "<|audio_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_start|>",
    "audio_eos_token": "<|audio_end|>",
}
#: Message structure of Qwen/Qwen3-Omni-30B-A3B-Instruct: strings, or lists of audio, video, image and text items.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif c.type == 'audio' %}<|audio_start|><|audio_pad|><|audio_end|>"
    "{% elif c.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in c %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """The whole Qwen3-Omni, with a thinker of 3 layers (the second without experts) of 4 query heads in 2 groups, head dimension 12."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>", extra_special_tokens=NAMED)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in NAMED.items()}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2], "mrope_interleaved": True}
    text = {
        "vocab_size": len(tokenizer),
        **DECODER,
        "rope_parameters": rope,
        "max_position_embeddings": 4096,
        "moe_intermediate_size": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "mlp_only_layers": [1],
    }
    small = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    tokens = {
        "audio_token_id": ids["audio_token"],
        "image_token_id": ids["image_token"],
        "video_token_id": ids["video_token"],
        "audio_start_token_id": ids["audio_bos_token"],
        "vision_start_token_id": ids["vision_bos_token"],
        "position_id_per_seconds": 13,
    }
    config = Qwen3OmniMoeConfig(
        thinker_config={
            **tokens,
            "audio_config": {
                "num_mel_bins": 16,
                "d_model": 16,
                "encoder_layers": 2,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "max_source_positions": 100,
                "n_window": 50,
                "n_window_infer": 100,
                "downsample_hidden_size": 8,
                "output_dim": 32,
            },
            "vision_config": {
                "depth": 2,
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_heads": 2,
                "patch_size": 4,
                "out_hidden_size": 32,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
            "text_config": text,
        },
        talker_config={
            **tokens,
            "thinker_hidden_size": 32,
            "num_code_groups": 2,
            "accept_hidden_layer": 1,
            "spatial_merge_size": 2,
            "text_config": {
                **small,
                "vocab_size": 32,
                "rope_parameters": {**rope, "mrope_section": [2, 1, 1]},
                "moe_intermediate_size": 8,
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "shared_expert_intermediate_size": 8,
            },
            "code_predictor_config": {**small, "vocab_size": 32, "num_code_groups": 2},
        },
        code2wav_config={
            **small,
            "codebook_size": 32,
            "num_quantizers": 2,
            "upsample_rates": [2],
            "upsampling_ratios": [2],
            "decoder_dim": 8,
        },
    )
    model = Qwen3OmniMoeForConditionalGeneration(config)
    extractor = WhisperFeatureExtractor(
        feature_size=16, chunk_length=1
    )  # shorter than the clips, which are not cut at it
    image_kwargs = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2, "size": PIXELS}
    processor = Qwen3OmniMoeProcessor(
        Qwen2VLImageProcessor(**image_kwargs),
        Qwen2VLVideoProcessor(**image_kwargs),
        extractor,
        tokenizer,
        chat_template=TEMPLATE,
    )
    save(folder, model, processor)
    return 3, 4, 12
