from __future__ import annotations

from pathlib import Path

from transformers import (
    MuseGlimmerImageProcessor,
    MuseGlimmerVideoProcessor,
    MuseSparkConfig,
    MuseSparkFeatureExtractor,
    MuseSparkForConditionalGeneration,
    MuseSparkProcessor,
)

from tests.extract.models.families.common import byte_tokenizer, save

SPECIAL = (
    "<|end_of_text|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|eot|>",
    "<|patch|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|video|>",
    "<|vid_start|>",
    "<|vid_end|>",
    "<|vid_frame_separator|>",
    "<|audio|>",
    "<|soft_audio_start|>",
    "<|soft_audio_end|>",
)

#: Message structure of meta-models/Muse-Spark-Open-816B-A42B: content lists with {"type": "audio"}; the processor adds
#: the start and end tokens around <|audio|>.
TEMPLATE = (
    "{% for m in messages %}<|header_start|>{{ m.role }}<|header_end|>\n\n"
    "{% for part in ([{'type': 'text', 'text': m.content}] if m.content is string else m.content) %}"
    "{{ '<|audio|>' if part.type == 'audio' else part.text }}{% endfor %}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>\n\n{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Muse Spark: 4 layers (3 sliding with rotary positions, 1 full without any; dense and sparse) of 4 query heads in 2 groups, dimension 6."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|eot|>", pad="<|end_of_text|>")
    ids = tokenizer.convert_tokens_to_ids
    config = MuseSparkConfig(
        text_config={
            "model_type": "muse_spark_text",
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 6,
            "sliding_window": 16,
            "moe_intermediate_size": 16,
            "num_local_experts": 6,
            "num_experts_per_tok": 2,
            "moe_hidden_size": 24,
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
            "max_position_embeddings": 512,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        vision_config={
            "model_type": "muse_spark_vision",
            "patch_size": 2,
            "pos_emb_height": 4,
            "pos_emb_width": 4,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
        },
        audio_config={
            "model_type": "muse_spark_audio",
            "hidden_sizes": [8, 8, 12, 16],
            "depths": [1, 1, 1, 1],
            "mlp_ratio": 2.0,
            "out_hidden_size": 32,
        },
        out_hidden_size=64,
        projector_hidden_size=16,
        image_token_id=ids("<|patch|>"),
        video_token_id=ids("<|video|>"),
        audio_token_id=ids("<|audio|>"),
    )
    vision = {"patch_size": 2, "merge_size": 2, "temporal_patch_size": 2}
    processor = MuseSparkProcessor(
        MuseGlimmerImageProcessor(**vision),
        MuseGlimmerVideoProcessor(**vision),
        tokenizer,
        MuseSparkFeatureExtractor(),
        chat_template=TEMPLATE,
    )
    save(folder, MuseSparkForConditionalGeneration(config), processor)
    return 4, 4, 6
