from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from transformers import (
    GraniteSpeechConfig,
    GraniteSpeechFeatureExtractor,
    GraniteSpeechForConditionalGeneration,
    GraniteSpeechProcessor,
)

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>", "<|audio|>")

#: Message structure of ibm-granite/granite-speech-3.3-8b: content is a string that contains <|audio|>; the tokenizer has the template.
TEMPLATE = (
    "{% for message in messages %}{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)


def settings(tokenizer: Any, encoder: Mapping[str, Any] = MappingProxyType({}), projected: int = 16) -> dict[str, Any]:
    return {
        "encoder_config": {
            "model_type": "granite_speech_encoder",
            "input_dim": 160,
            "num_layers": 2,
            "hidden_dim": 16,
            "num_heads": 2,
            "feedforward_mult": 2,
            "output_dim": 8,
            "context_size": 20,
            "max_pos_emb": 32,
            "conv_kernel_size": 5,
            **dict(encoder),
        },
        "projector_config": {
            "model_type": "blip_2_qformer",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "encoder_hidden_size": projected,
        },
        "text_config": {
            "model_type": "granite",
            "vocab_size": len(tokenizer),
            **DECODER,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.pad_token_id,
            "attention_multiplier": 0.3,
        },
        "audio_token_index": tokenizer.convert_tokens_to_ids("<|audio|>"),
        "has_lora_adapter": False,
    }


def granite_tokenizer() -> Any:
    return byte_tokenizer(
        SPECIAL, eos="<|end_of_text|>", pad="<|end_of_text|>", bos_token="<|end_of_text|>", chat_template=TEMPLATE
    )


def build(folder: Path) -> tuple[int, int, int]:
    """Granite Speech: 3 layers of 4 query heads in 2 groups, head dimension 12; a Q-Former between encoder and decoder."""
    tokenizer = granite_tokenizer()
    model = GraniteSpeechForConditionalGeneration(GraniteSpeechConfig(**settings(tokenizer)))
    save(folder, model, GraniteSpeechProcessor(GraniteSpeechFeatureExtractor(), tokenizer))
    return 3, 4, 12
