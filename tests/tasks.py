"""Small few-shot tasks and caches that tests share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm import (
    CALMClassifier,
    GlobalWeightClassifier,
    HeadCache,
    LinearProbeClassifier,
    NearestMeanClassifier,
    SAVClassifier,
    UniformVoteClassifier,
)
from calm.classifiers.base import HeadClassifier
from calm.extract import CacheWriter, Clip, Fingerprint, Request, create_cache
from calm.extract.media.content import UNKNOWN, compute_content
from calm.extract.result import ClipResult

CLASSIFIERS = [
    CALMClassifier(),
    CALMClassifier.published(),
    SAVClassifier(),
    GlobalWeightClassifier(),
    UniformVoteClassifier(),
    NearestMeanClassifier(),
    LinearProbeClassifier(),
]


def task(n: int = 24, heads: int = 6, dim: int = 8, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Make head vectors of three classes, which the first half of the heads separates."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(n) % 3
    X = rng.normal(size=(n, heads, dim))
    X[:, : heads // 2] += 3 * np.eye(dim)[numbers][:, None]
    return X.astype(np.float32), np.array(["dog", "rain", "rooster"])[numbers]


def a_grid(classifier: HeadClassifier) -> dict[str, Any]:
    """Return a parameter grid for the classifier, with values of NumPy types."""
    for name, values in (("top_heads", np.arange(1, 4)), ("temperature", np.array([0.05, 0.1])), ("C", [0.5, 2.0])):
        if name in classifier.get_params():
            return {name: values}
    return {"n_heads": [None]}


def cache_of(
    path: Path, X: NDArray[np.float32], y: NDArray[Any], prompt: str = "Hm?", max_seconds: float = 5.0
) -> HeadCache:
    """Store head vectors in a cache, two heads per layer."""
    clips = [Clip("", f"{i}.wav", label, group=str(i)) for i, label in enumerate(y)]
    layered = X.reshape(len(X), -1, 2, X.shape[2])
    fingerprint = Fingerprint("abc", "def", "float32", prompt, 1, 16000, max_seconds)
    create_cache(
        path, clips, [prompt] * len(X), layered.shape[1:], Request("tiny"), fingerprint, storage="float32"
    )  # fmt: skip
    write_all(path, layered)
    return HeadCache(path)


def write_all(
    path: Path, vectors: NDArray[np.floating], contents: Sequence[bytes] = (), rows: Sequence[int] | None = None
) -> None:
    """Store head vectors of shape (n_clips, n_layers, n_heads, head_dim) in the first rows of a cache, or in ``rows``.

    The digests of the clips are unknown, unless their contents are given.
    """
    known = [compute_content(np.frombuffer(content, np.uint8)) for content in contents] or [UNKNOWN] * len(vectors)
    with CacheWriter(path) as writer:
        writer.write(
            [
                ClipResult(row, vector, seconds=1.0, peak=1.0, content=content)
                for row, vector, content in zip(rows or range(len(vectors)), vectors, known, strict=True)
            ]
        )


def few_shot_task(seed: int, one_shot: bool = False) -> tuple[NDArray, NDArray, NDArray]:
    """Return support vectors, class numbers and queries of a random shape."""
    rng = np.random.default_rng(seed)
    n_classes, heads, dim = rng.integers(2, 5), rng.integers(1, 6), rng.integers(2, 7)
    counts = np.ones(n_classes, int) if one_shot else rng.integers(2, 5, n_classes)
    y = rng.permutation(np.repeat(np.arange(n_classes), counts))
    centres = rng.normal(size=(n_classes, heads, dim))
    X = centres[y] + rng.normal(size=(len(y), heads, dim))
    Q = centres[rng.integers(0, n_classes, 6)] + rng.normal(size=(6, heads, dim))
    return X, y, Q
