"""``tiny``: a small Qwen2-Audio that comes with the package, for trying things out without a download.

Same classes as the real one, a window of 5 seconds. It was trained on sounds made by :mod:`calm.sounds` and nothing
else; ``checkpoint/README.md`` is its model card. ``tiny-random`` is the same with weights that were never trained, to
compare with.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

#: The folder that transformers loads ``tiny`` from.
CHECKPOINT = Path(__file__).parent / "checkpoint"
_STD = 0.1  # of every weight matrix


def checkpoint_digest() -> str:
    """Return a fingerprint of the weights that come with this release, without loading them."""
    return hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()[:16]


def random_tiny(seed: int = 0, *, std: float = _STD, window_seconds: int = 5) -> tuple[Any, Any]:
    """Build ``tiny`` with random weights; the same on every machine, to the bit.

    Parameters
    ----------
    seed : int
    std : float
        Standard deviation of every weight matrix.
    window_seconds : int
        The longest clip that it hears whole.

    Returns
    -------
    model : transformers.Qwen2AudioForConditionalGeneration
        float32, on the CPU.
    processor : transformers.Qwen2AudioProcessor

    Examples
    --------
    >>> model, processor = random_tiny()
    >>> round(sum(p.numel() for p in model.parameters()) / 1e6, 1)
    4.2
    """
    import torch
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    config = Qwen2AudioConfig.from_pretrained(CHECKPOINT)
    config.dtype = torch.float32
    config.audio_config.max_source_positions = window_seconds * 50
    tokenizer = Qwen2AudioProcessor.from_pretrained(CHECKPOINT).tokenizer
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16000, chunk_length=window_seconds)
    with torch.random.fork_rng(devices=[]):  # leave the caller's random numbers alone
        model = Qwen2AudioForConditionalGeneration(config)
    _fill(model, seed, std)
    return model.eval(), Qwen2AudioProcessor(extractor, tokenizer)


def _fill(model: torch.nn.Module, seed: int, std: float) -> None:
    """Draw every weight matrix from numpy's frozen legacy generator, which no release or platform changes."""
    import torch

    generator = np.random.RandomState(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim >= 2:
                drawn = generator.standard_normal(tuple(parameter.shape)) * std
                parameter.copy_(torch.from_numpy(drawn))
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)  # norms start as the identity
