from __future__ import annotations

from pathlib import Path

from transformers import (
    Phi4MultimodalConfig,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalForCausalLM,
    Phi4MultimodalImageProcessor,
    Phi4MultimodalProcessor,
)

from tests.extract.models.families.common import byte_tokenizer, save

SPECIAL = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|image|>", "<|audio|>")

#: Message structure of microsoft/Phi-4-multimodal-instruct at refs/pr/70 (its version for transformers): content lists.
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] %}{% if item['type'] == 'audio' %}{{ '<|audio|>' }}{% elif item['type'] == 'text' %}{{ item['text'] }}"
    "{% endif %}{% endfor %}{% endif %}{{ '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Phi-4-multimodal: 3 layers of 4 query heads in 2 groups, head dimension 12, queries, keys and values in one projection."""
    tokenizer = byte_tokenizer(
        SPECIAL,
        eos="<|end|>",
        pad="<|endoftext|>",
        bos_token="<|endoftext|>",
        model_specific_special_tokens={"image_token": "<|image|>", "audio_token": "<|audio|>"},
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    config = Phi4MultimodalConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        head_dim=12,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.75},
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=[ids["<|end|>"]],
        pad_token_id=ids["<|endoftext|>"],
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "crop_size": 28,
            "image_token_id": ids["<|image|>"],
        },
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_blocks": 2,
            "num_attention_heads": 2,
            "ext_pw_out_channel": 16,
            "depthwise_separable_out_channel": 16,
            "nemo_conv_channels": 8,
            "input_size": 16,
            "audio_token_id": ids["<|audio|>"],
        },
    )
    processor = Phi4MultimodalProcessor(
        Phi4MultimodalImageProcessor(),
        Phi4MultimodalFeatureExtractor(feature_size=16),
        tokenizer,
        chat_template=TEMPLATE,
    )
    save(folder, Phi4MultimodalForCausalLM(config), processor)
    return 3, 4, 12
