"""What the classifiers take for ``X``, seen as blocks of head vectors ``(clips, heads, dim)``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from calm.extract import HeadCache, HeadRows

#: What one block of clips may take in memory, in bytes, in its largest intermediate array.
_BLOCK_BYTES = 64 * 2**20


class HeadVectors(Protocol):
    """Head vectors that are read block by block."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the blocks: float32 or float64."""

    def blocks(self, clips: int) -> Iterator[NDArray[np.floating]]:
        """Yield at most ``clips`` clips at a time, in order."""


class ArrayHeads:
    """Head vectors that are in memory already."""

    def __init__(self, X: NDArray[np.floating]) -> None:
        self._X = X

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""
        clips, heads, dim = self._X.shape
        return clips, heads, dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the blocks: float32 or float64."""
        return self._X.dtype

    def blocks(self, clips: int) -> Iterator[NDArray[np.floating]]:
        """Yield at most ``clips`` clips at a time, in order."""
        for start in range(0, len(self._X), clips):
            yield self._X[start : start + clips]


def stored_heads(X: Any) -> HeadRows | None:
    """Return the rows of a head cache that ``X`` stands for, or None if it is something else."""
    if isinstance(X, HeadCache):
        return X[:]
    return X if isinstance(X, HeadRows) else None


def join_layers(X: Any) -> Any:
    """Put the heads of all layers on one axis: ``(clips, layers, heads, dim)`` to ``(clips, layers · heads, dim)``.

    Whatever has another shape stays as it is.
    """
    if getattr(X, "ndim", None) != 4:
        return X
    return rearrange(X, "clips layers heads dim -> clips (layers heads) dim")


def split_heads(X: NDArray[Any], n_heads: int | None) -> NDArray[Any]:
    """Bring an array to ``(clips, heads, dim)``.

    Parameters
    ----------
    X : array
        ``(clips, heads, dim)``, or flat ``(clips, heads · dim)``.
    n_heads : int, optional
        How many heads lie side by side in a flat array; one unless given.

    Raises
    ------
    ValueError
        If the array has another number of axes, or does not split into so many heads.

    Examples
    --------
    >>> split_heads(np.zeros((5, 12)), n_heads=4).shape
    (5, 4, 3)
    """
    if X.ndim == 3:
        return X
    if X.ndim != 2:
        raise ValueError(
            f"X has shape {X.shape}; expected (clips, heads, dim), (clips, layers, heads, dim) or (clips, features)"
        )
    heads = 1 if n_heads is None else n_heads
    if heads < 1 or X.shape[1] % heads:
        raise ValueError(f"X has {X.shape[1]} features a clip, which do not split into n_heads={n_heads!r}")
    return rearrange(X, "clips (heads dim) -> clips heads dim", heads=heads)


def block_clips(heads: HeadVectors, n_classes: int) -> int:
    """Choose how many clips go into a block, so that its memory does not depend on the number of clips."""
    _, n_heads, dim = heads.shape
    return max(1, _BLOCK_BYTES // (4 * n_heads * max(dim, n_classes)))
