from __future__ import annotations

from pathlib import Path

from transformers import (
    NemotronH_Omni_Reasoning_V3,
    NemotronH_Omni_Reasoning_V3_Config,
    NemotronH_Omni_Reasoning_V3ImageProcessor,
    NemotronH_Omni_Reasoning_V3Processor,
    NemotronH_Omni_Reasoning_V3VideoProcessor,
    ParakeetFeatureExtractor,
)

from tests.extract.models.families.common import byte_tokenizer, save
from tests.extract.models.families.nemo_speechlm import text_config

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<image>",
    "<video>",
    "<so_embedding>",
    "<img>",
    "</img>",
    "<so_start>",
    "<so_end>",
)
#: Message structure of nvidia/Nemotron-3-Nano-Omni-30B-A3B-Reasoning-BF16: content lists with
#: {"type": "audio"} and {"type": "text"}. By default the model thinks before it answers.
TEMPLATE = (
    "<|im_start|>system\n<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'audio' %}<so_embedding>\n{% elif c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think></think>{% endif %}{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Nemotron 3 Nano Omni: 2 attention layers of 7, of 4 query heads in 2 groups, head dimension 12. Needs torchvision."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>")
    id_of = tokenizer.convert_tokens_to_ids
    config = NemotronH_Omni_Reasoning_V3_Config(
        audio_config={
            "model_type": "parakeet_encoder",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "num_mel_bins": 16,
            "subsampling_conv_channels": 4,
            "conv_kernel_size": 5,
            "projection_hidden_size": 24,
            "projection_bias": False,
        },
        vision_config={
            "model_type": "radio",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "mlp_ratio": 2.0,
            "patch_size": 16,
            "image_size": 32,
            "max_img_size": 64,
            "num_cls_tokens": 2,
            "num_registers": 1,
            "video_temporal_patch_size": 2,
        },
        text_config=text_config(len(tokenizer)),
        force_image_size=32,
        projector_hidden_size=24,
        vision_hidden_size=16,
        image_token_id=id_of("<image>"),
        video_token_id=id_of("<video>"),
        audio_token_id=id_of("<so_embedding>"),
    )
    mean = [0.5, 0.5, 0.5]
    processor = NemotronH_Omni_Reasoning_V3Processor(
        NemotronH_Omni_Reasoning_V3ImageProcessor(),
        NemotronH_Omni_Reasoning_V3VideoProcessor(norm_mean=mean, norm_std=mean),
        tokenizer,
        ParakeetFeatureExtractor(feature_size=16),
        chat_template=TEMPLATE,
    )
    save(folder, NemotronH_Omni_Reasoning_V3(config), processor)
    return 2, 4, 12
