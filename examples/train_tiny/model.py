"""The model that is trained: Qwen2-Audio's own classes, small, with a tokenizer of its own text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
#: Length of what the trained model hears, and of most clips that it is trained on, in seconds.
WINDOW, SHORT = 5, 2


def learn_tokenizer(texts: Iterable[str], size: int) -> Any:
    """Learn a byte-level BPE tokenizer of so many tokens at most, with the special tokens of Qwen2-Audio."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(_SPECIAL_TOKENS[1:]),
    )


def build(tokenizer: Any, seconds: int, width: float = 1.0) -> tuple[Any, Any]:
    """Build model and processor for clips of some seconds: 6 layers of 8 heads, about 4.2 million parameters.

    Another ``width`` makes all states wider or narrower, and leaves the heads as they are.
    """

    def wide(size: int) -> int:
        return round(width * size / 16) * 16

    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "d_model": wide(128),
            "encoder_layers": 4,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": wide(512),
            "max_source_positions": seconds * 50,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": wide(192),
            "head_dim": 32,
            "intermediate_size": wide(512),
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2AudioForConditionalGeneration(config)
    set_window(model, seconds)  # of itself it draws its positions at random
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16000, chunk_length=seconds)
    return model, Qwen2AudioProcessor(extractor, tokenizer)


class Listener(torch.nn.Module):
    """The model, and beside it what tells from the encoder alone which words are true of a clip."""

    def __init__(self, tokenizer: Any, seconds: int, width: float = 1.0) -> None:
        super().__init__()
        self.lalm, self.processor = build(tokenizer, seconds, width)
        self.words = torch.nn.Linear(self.lalm.config.audio_config.d_model, len(tokenizer))

    def heard(self, encoded: torch.Tensor) -> torch.Tensor:
        """Score each word by the encoder's states ``(clips, time, width)``; returns ``(clips, vocabulary)``."""
        scores: torch.Tensor = self.words(encoded.mean(dim=1))
        return scores

    def learnt(self) -> dict[str, torch.Tensor]:
        """Return all weights but those that depend on the window."""
        return {name: tensor for name, tensor in self.state_dict().items() if not _is_position(name)}

    @staticmethod
    def hears(name: str) -> bool:
        """Tell whether a weight is the encoder's."""
        return "audio_tower" in name or name.startswith("words")


def initialize(listener: Listener) -> None:
    """Draw weights by their fan-in: transformers' own start is too small for so small a model."""
    with torch.no_grad():
        for name, parameter in listener.named_parameters():
            if parameter.ndim >= 2 and not _is_position(name):
                parameter.normal_(0, 0.05 if "embed_tokens" in name else parameter[0].numel() ** -0.5)
    for name, parameter in listener.named_parameters():
        parameter.requires_grad_(not _is_position(name))


def set_window(model: Any, seconds: int) -> None:
    """Let the encoder take clips of another length: its positions are sinusoids, which are not learnt."""
    encoder = model.model.audio_tower
    width, length = encoder.config.d_model, seconds * 50
    encoder.max_source_positions = encoder.config.max_source_positions = length
    rates = torch.exp(-torch.arange(width // 2) * (torch.log(torch.tensor(10000.0)) / (width // 2 - 1)))
    angles = torch.arange(length)[:, None] * rates
    table = torch.cat([angles.sin(), angles.cos()], dim=1).to(encoder.embed_positions.weight)
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(table, freeze=True)


def save(model: Any, tokenizer: Any, folder: Path, width: float = 1.0) -> None:
    """Write a float16 checkpoint with its processor, as a hub repository holds it."""
    whole, processor = build(tokenizer, WINDOW, width)
    learnt = {name: tensor for name, tensor in model.state_dict().items() if not _is_position(name)}
    whole.load_state_dict(learnt, strict=False)
    whole.half().save_pretrained(folder)
    processor.save_pretrained(folder)


def _is_position(name: str) -> bool:
    return "embed_positions" in name
