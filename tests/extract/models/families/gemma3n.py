from __future__ import annotations

from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import (
    Gemma3nAudioFeatureExtractor,
    Gemma3nConfig,
    Gemma3nForConditionalGeneration,
    Gemma3nProcessor,
    SiglipImageProcessor,
)

from tests.extract.models.families.common import byte_tokenizer, save

SPECIAL = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<start_of_audio>")
LATE = (
    "<end_of_image>",
    "<image_soft_token>",
    "<end_of_audio>",
    "<audio_soft_token>",
)  # the model recognizes these tokens by ids above those of the text

#: Message structure of google/gemma-3n-E4B-it: content lists; the template begins with <bos>, which the tokenizer adds as well.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}{% for item in message['content'] %}"
    "{% if item['type'] == 'audio' %}{{ '<audio_soft_token>' }}{% elif item['type'] == 'text' %}{{ item['text'] | trim }}{% endif %}{% endfor %}"
    "{% endif %}{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Gemma 3n: 6 layers of 4 query heads in 2 groups, head dimension 12; the last two layers share keys."""
    tokenizer = byte_tokenizer(
        SPECIAL,
        eos="<eos>",
        pad="<pad>",
        bos_token="<bos>",
        model_specific_special_tokens={
            "image_token": "<image_soft_token>",
            "audio_token": "<audio_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "boa_token": "<start_of_audio>",
            "eoa_token": "<end_of_audio>",
        },
    )
    tokenizer.add_tokens([token for token in LATE if token not in tokenizer.get_vocab()], special_tokens=True)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in (*SPECIAL, *LATE)}
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", ids["<bos>"])]
    )
    text = min(ids[token] for token in LATE)
    config = Gemma3nConfig(
        text_config={
            "vocab_size": text + 5,
            "vocab_size_per_layer_input": text,
            "hidden_size": 32,
            "head_dim": 12,
            "intermediate_size": 48,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "hidden_size_per_layer_input": 4,
            "laurel_rank": 4,
            "sliding_window": 16,
            "num_kv_shared_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"] * 3,
            "activation_sparsity_pattern": [0.95] * 2 + [0.0] * 4,
            "pad_token_id": ids["<pad>"],
            "bos_token_id": ids["<bos>"],
            "eos_token_id": ids["<eos>"],
        },
        vision_config={"architecture": "test_convnext", "hidden_size": 64, "vocab_size": 2, "vocab_offset": text},
        audio_config={
            "hidden_size": 16,
            "conf_num_attention_heads": 2,
            "conf_num_hidden_layers": 2,
            "vocab_size": 3,
            "vocab_offset": text + 2,
            "input_feat_size": 16,
            "sscp_conv_channel_size": (8, 4),
        },
        image_token_id=ids["<image_soft_token>"],
        audio_token_id=ids["<audio_soft_token>"],
        boi_token_id=ids["<start_of_image>"],
        eoi_token_id=ids["<end_of_image>"],
        boa_token_id=ids["<start_of_audio>"],
        eoa_token_id=ids["<end_of_audio>"],
    )
    processor = Gemma3nProcessor(
        Gemma3nAudioFeatureExtractor(feature_size=16), SiglipImageProcessor(), tokenizer, chat_template=TEMPLATE
    )
    save(folder, Gemma3nForConditionalGeneration(config), processor)
    return 6, 4, 12
