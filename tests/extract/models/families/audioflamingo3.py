from __future__ import annotations

from pathlib import Path

from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    WhisperFeatureExtractor,
)

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>")

#: Message structure of nvidia/audio-flamingo-3-hf: content lists; audio comes before the text of a message.
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'audio' %}<sound>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Audio Flamingo 3: 3 layers of 4 query heads in 2 groups, head dimension 12; windows of 1 s."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>")
    config = AudioFlamingo3Config(
        audio_config={
            "model_type": "audioflamingo3_encoder",
            "num_mel_bins": 16,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_source_positions": 50,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            **DECODER,
            "pad_token_id": tokenizer.pad_token_id,
        },
        audio_token_id=tokenizer.convert_tokens_to_ids("<sound>"),
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    processor = AudioFlamingo3Processor(extractor, tokenizer, chat_template=TEMPLATE, max_audio_len=4)
    save(folder, AudioFlamingo3ForConditionalGeneration(config), processor)
    return 3, 4, 12
