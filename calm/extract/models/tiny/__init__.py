"""``tiny``: a small Qwen2-Audio that comes with the package, for tests and examples without a download.

It uses the classes of the real model, with a window of 5 seconds. It is trained only on synthetic sounds from
:mod:`calm.sounds`; ``checkpoint/README.md`` is its model card. ``tiny-random`` is the same model with random weights,
for comparison.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

#: Folder from which transformers loads ``tiny``.
CHECKPOINT = Path(__file__).parent / "checkpoint"
#: Standard deviation of every weight matrix of ``tiny-random``.
_STD = 0.1


def checkpoint_digest() -> str:
    """Return a digest of the weight file of ``tiny``, without loading it."""
    return hashlib.sha256((CHECKPOINT / "model.safetensors").read_bytes()).hexdigest()[:16]


def random_tiny(seed: int = 0, *, std: float = _STD, window_seconds: int = 5) -> tuple[Any, Any]:
    """Build ``tiny`` with random weights, which are bit-identical on every machine.

    Parameters
    ----------
    seed : int, default=0
        Seed of the random weights.
    std : float, default=0.1
        Standard deviation of every weight matrix.
    window_seconds : int, default=5
        Maximum clip length in seconds.

    Returns
    -------
    model : transformers.Qwen2AudioForConditionalGeneration
        Model in float32, on the CPU.
    processor : transformers.Qwen2AudioProcessor
        Processor of the model.

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
    with torch.random.fork_rng(devices=[]):  # keeps the caller's random state
        model = Qwen2AudioForConditionalGeneration(config)
    _draw_weights(model, seed, std)
    return model.eval(), Qwen2AudioProcessor(extractor, tokenizer)


def _draw_weights(model: torch.nn.Module, seed: int, std: float) -> None:
    """Draw all weight matrices from numpy's legacy generator, whose numbers no release or platform changes."""
    import torch

    generator = np.random.RandomState(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim >= 2:
                values = generator.standard_normal(tuple(parameter.shape)) * std
                parameter.copy_(torch.from_numpy(values))
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)  # norms start as the identity
