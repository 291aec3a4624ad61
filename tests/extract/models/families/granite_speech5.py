from __future__ import annotations

from pathlib import Path

from transformers import (
    GraniteSpeech5CTCConfig,
    GraniteSpeech5FeatureExtractor,
    GraniteSpeech5ForCTC,
    GraniteSpeech5Processor,
)

from tests.extract.models.families.common import byte_tokenizer, save


def build(folder: Path) -> None:
    """Granite Speech 5 (ibm-granite/granite-speech-5.0-470m-turboctc): an encoder with a CTC head, which takes no text and must be refused."""
    tokenizer = byte_tokenizer(("<blank>",), eos="<blank>", pad="<blank>")
    encoder = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "context_size": 8,
        "max_position_embeddings": 16,
    }
    config = GraniteSpeech5CTCConfig(vocab_size=len(tokenizer), encoder_config=encoder)
    save(folder, GraniteSpeech5ForCTC(config), GraniteSpeech5Processor(GraniteSpeech5FeatureExtractor(), tokenizer))
