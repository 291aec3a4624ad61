from __future__ import annotations

from pathlib import Path

from transformers import GlmAsrConfig, GlmAsrForConditionalGeneration, GlmAsrProcessor, WhisperFeatureExtractor

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = (
    "<|endoftext|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|pad|>",
    "<|begin_of_audio|>",
    "<|end_of_audio|>",
)

#: Message structure of zai-org/GLM-ASR-Nano-2512: content lists, in their order; the text after the audio is a separate turn.
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}<|begin_of_audio|><|pad|><|end_of_audio|><|user|>\n{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """GLM-ASR: 3 layers of 4 query heads in 2 groups, head dimension 12; tied embeddings; windows of 1 s."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|user|>", pad="<|endoftext|>")
    config = GlmAsrConfig(
        audio_config={
            "model_type": "glmasr_encoder",
            "num_mel_bins": 16,
            "hidden_size": 16,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_position_embeddings": 40,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            **DECODER,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        audio_token_id=tokenizer.convert_tokens_to_ids("<|pad|>"),
    )
    extractor = WhisperFeatureExtractor(
        feature_size=16, hop_length=200, chunk_length=1
    )  # 80 frames: each group of 8 becomes one token
    processor = GlmAsrProcessor(extractor, tokenizer, chat_template=TEMPLATE, max_audio_len=4)
    save(folder, GlmAsrForConditionalGeneration(config), processor)
    return 3, 4, 12
