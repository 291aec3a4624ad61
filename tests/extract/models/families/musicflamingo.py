from __future__ import annotations

from pathlib import Path

from transformers import (
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    WhisperFeatureExtractor,
)

from tests.extract.models.families.audioflamingo3 import TEMPLATE as SIBLING
from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>", "<|sound_bos|>", "<|sound_eos|>")

#: Message structure of nvidia/music-flamingo-2601-hf: that of Audio Flamingo 3 with another system
#: prompt. It contains only <sound>: the processor adds the start and end tokens.
TEMPLATE = SIBLING.replace("You are a helpful assistant.", "You are Music Flamingo.")


def build(folder: Path) -> tuple[int, int, int]:
    """Music Flamingo: 3 layers of 4 query heads in 2 groups, head dimension 12; windows of 1 s."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>")
    config = MusicFlamingoConfig(
        audio_config={
            "model_type": "audioflamingo3_encoder",
            "num_mel_bins": 16,
            "hidden_size": 20,
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
        audio_bos_token_id=tokenizer.convert_tokens_to_ids("<|sound_bos|>"),
        audio_eos_token_id=tokenizer.convert_tokens_to_ids("<|sound_eos|>"),
    )
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    processor = MusicFlamingoProcessor(extractor, tokenizer, chat_template=TEMPLATE, max_audio_len=4)
    save(folder, MusicFlamingoForConditionalGeneration(config), processor)
    return 3, 4, 12
