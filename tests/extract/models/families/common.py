"""Helpers that build the tiny models of all families."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

#: Decoder config of most families: grouped queries, and a head dimension other than hidden size / heads.
DECODER = {
    "hidden_size": 32,
    "head_dim": 12,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}

_TEXTS = ["What is the sound in this audio clip? system user assistant You are a helpful assistant. model"] * 3


def byte_tokenizer(special: tuple[str, ...], *, eos: str | None, pad: str | None, size: int = 400, **more: Any) -> Any:
    """Train a byte-level BPE tokenizer with the special tokens of a family."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size + len(special),
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_TEXTS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=eos, pad_token=pad, additional_special_tokens=list(special), **more
    )


def save(folder: Path, model: Any, processor: Any) -> None:
    """Draw random weights, with which heads and clips differ, and write a checkpoint.

    Biases are not zero, as in trained models: with zero biases, padding would stay zero through convolutions.
    """
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
    model.float().save_pretrained(folder)
    processor.save_pretrained(folder)


def usable(package: str) -> bool:
    """Return whether a package can be imported; wheels built for another torch version cannot."""
    try:
        importlib.import_module(package)
    except (ImportError, OSError, RuntimeError):
        return False
    return True
