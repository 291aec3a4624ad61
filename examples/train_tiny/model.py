"""
Model and tokenizer
===================

The model has the classes of Qwen2-Audio at a small size. The tokenizer is trained on the texts of the lessons.
"""

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
#: Window of the trained model, and length of most training clips, in seconds.
WINDOW_SECONDS, SHORT_SECONDS = 5, 2


def train_tokenizer(texts: Iterable[str], max_tokens: int) -> Any:
    """Train a byte-level BPE tokenizer with the special tokens of Qwen2-Audio."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max_tokens,
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


def build_model(tokenizer: Any, seconds: int, width: float = 1.0) -> tuple[Any, Any]:
    """Build a model of about 4.2 million parameters, and its processor, for clips of ``seconds``.

    ``width`` scales the hidden sizes; the 6 layers of 8 heads of size 32 stay the same.
    """

    def scale(size: int) -> int:
        return round(width * size / 16) * 16

    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "d_model": scale(128),
            "encoder_layers": 4,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": scale(512),
            "max_source_positions": seconds * 50,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": scale(192),
            "head_dim": 32,
            "intermediate_size": scale(512),
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
    set_window(model, seconds)  # transformers would draw the position embeddings at random
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16000, chunk_length=seconds)
    return model, Qwen2AudioProcessor(extractor, tokenizer)


class TrainableModel(torch.nn.Module):
    """The model, and a linear layer that predicts the true words of a clip from the encoder alone."""

    def __init__(self, tokenizer: Any, seconds: int, width: float = 1.0) -> None:
        super().__init__()
        self.lalm, self.processor = build_model(tokenizer, seconds, width)
        self.words = torch.nn.Linear(self.lalm.config.audio_config.d_model, len(tokenizer))

    def score_words(self, encoder_states: torch.Tensor) -> torch.Tensor:
        """Return word logits ``(clips, vocabulary)`` from encoder states ``(clips, time, width)``."""
        logits: torch.Tensor = self.words(encoder_states.mean(dim=1))
        return logits

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Return all weights except position embeddings, whose shape depends on the window."""
        return {name: tensor for name, tensor in self.state_dict().items() if not _is_position(name)}

    @staticmethod
    def is_encoder_weight(name: str) -> bool:
        """Return whether the weight belongs to the encoder or to the linear layer on it."""
        return "audio_tower" in name or name.startswith("words")


def initialize_weights(trained: TrainableModel) -> None:
    """Draw weights with a standard deviation of 1 / sqrt(fan-in); freeze position embeddings.

    The default initialization of transformers is too small for a model of this size.
    """
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if parameter.ndim >= 2 and not _is_position(name):
                parameter.normal_(0, 0.05 if "embed_tokens" in name else parameter[0].numel() ** -0.5)
    for name, parameter in trained.named_parameters():
        parameter.requires_grad_(not _is_position(name))


def set_window(model: Any, seconds: int) -> None:
    """Set the window of the encoder; its position embeddings are sinusoids, which are not trained."""
    encoder = model.model.audio_tower
    width, length = encoder.config.d_model, seconds * 50
    encoder.max_source_positions = encoder.config.max_source_positions = length
    rates = torch.exp(-torch.arange(width // 2) * (torch.log(torch.tensor(10000.0)) / (width // 2 - 1)))
    angles = torch.arange(length)[:, None] * rates
    table = torch.cat([angles.sin(), angles.cos()], dim=1).to(encoder.embed_positions.weight)
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(table, freeze=True)


def save_checkpoint(model: Any, tokenizer: Any, folder: Path, width: float = 1.0) -> None:
    """Write a float16 checkpoint and its processor, in the layout of a hub repository."""
    full_window_model, processor = build_model(tokenizer, WINDOW_SECONDS, width)
    trained_state = {name: tensor for name, tensor in model.state_dict().items() if not _is_position(name)}
    full_window_model.load_state_dict(trained_state, strict=False)
    full_window_model.half().save_pretrained(folder)
    processor.save_pretrained(folder)


def _is_position(name: str) -> bool:
    return "embed_positions" in name
