from __future__ import annotations

from pathlib import Path

from transformers import (
    MossTranscribeDiarizeConfig,
    MossTranscribeDiarizeFeatureExtractor,
    MossTranscribeDiarizeForConditionalGeneration,
    MossTranscribeDiarizeProcessor,
)

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_pad|>", "<|audio_end|>")
#: Message structure of hf-audio/MOSS-Transcribe-Diarize-HF: content lists with {"type": "audio"} and, as
#: extra information ahead of a fixed task, {"type": "text"}.
TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'audio' %}<|audio_start|><|audio_pad|><|audio_end|>\n"
    "{% elif c.type == 'text' %}Info: {{ c.text }}\n\n{% endif %}{% endfor %}Transcribe.<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """MOSS-Transcribe-Diarize: 3 layers of 4 query heads in 2 groups, head dimension 12; windows of 1 s."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>")
    config = MossTranscribeDiarizeConfig(
        audio_config={
            "num_mel_bins": 16,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_source_positions": 64,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            **DECODER,
            "max_position_embeddings": 1000,
        },
        audio_token_id=tokenizer.convert_tokens_to_ids("<|audio_pad|>"),
        audio_chunk_size=16000,
    )
    extractor = MossTranscribeDiarizeFeatureExtractor(feature_size=16, chunk_length=1, hop_length=125)
    processor = MossTranscribeDiarizeProcessor(
        extractor, tokenizer, chat_template=TEMPLATE, time_marker_every_seconds=1, audio_tokens_per_second=16.0
    )
    save(folder, MossTranscribeDiarizeForConditionalGeneration(config), processor)
    return 3, 4, 12
