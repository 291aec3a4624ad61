"""Inputs ``X`` of the classifiers, unified as head vectors ``(clips, heads, dim)`` that are read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from array_api_compat import is_array_api_obj
from einops import rearrange
from numpy.typing import NDArray

from calm.extract import Extraction, HeadCache, HeadRows
from calm.fit.arrays import Array, convert_like, is_numpy, namespace
from calm.fit.parallel import chunk_slices

#: Number of values in one read of a support set: some heads of all clips.
BLOCK_SIZE = 2**20
#: Number of values that fit several times into the cache of a processor core.
_CACHED_NUMBERS = 2**18
#: Number of values in one read of queries from a head cache: all heads of some clips.
_QUERY_NUMBERS = 2**22
#: Maximum number of clips in one block of queries that are in memory already.
_QUERY_CLIPS = 4096


class HeadVectors(Protocol):
    """Head vectors that are read in blocks."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""

    @property
    def like(self) -> Array:
        """Empty array of the library, device and dtype that :meth:`read` returns, created without reading."""

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Return some heads of some clips, ``(clips, heads, dim)``, in float32 or float64."""

    def __getitem__(self, indices: Any) -> HeadVectors:
        """Select clips."""


@dataclass(frozen=True)
class ArrayHeads:
    """Head vectors in memory, as a numpy array or a torch tensor."""

    X: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""
        clips, heads, dim = self.X.shape
        return clips, heads, dim

    @property
    def like(self) -> Array:
        """Empty array of the library, device and dtype of the head vectors."""
        return self.X[:0]

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Return a view of some heads of some clips."""
        return self.X[clips, heads]

    def __getitem__(self, indices: NDArray[np.integer]) -> ClipSubset:
        return ClipSubset(self, indices)


@dataclass(frozen=True)
class StoredHeads:
    """Rows of a head cache that are read from the file in blocks; heads of all layers share one axis."""

    rows: HeadRows

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""
        clips, layers, heads, dim = self.rows.shape
        return clips, layers * heads, dim

    @property
    def like(self) -> NDArray[np.float32]:
        """Empty numpy array of dtype float32."""
        return np.empty((0, *self.shape[1:]), dtype=np.float32)

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read some heads of some clips from the file."""
        return self.rows.read(clips, heads)

    def __getitem__(self, indices: NDArray[np.integer]) -> StoredHeads:
        return StoredHeads(self.rows[indices])


@dataclass(frozen=True)
class ClipSubset:
    """Some of the clips in memory; blocks are copied when they are read."""

    source: ArrayHeads
    indices: NDArray[np.integer]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""
        return len(self.indices), *self.source.shape[1:]

    @property
    def like(self) -> Array:
        """Empty array of the library, device and dtype of the head vectors."""
        return self.source.like

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Return a copy of some heads of some clips."""
        X = self.source.X[:, heads]
        return X[convert_like(X, self.indices[clips])]

    def __getitem__(self, indices: NDArray[np.integer]) -> ClipSubset:
        return ClipSubset(self.source, self.indices[indices])


@dataclass(frozen=True)
class HeadSubset:
    """Some of the heads of other head vectors."""

    source: HeadVectors
    indices: NDArray[np.int64]  #: ascending

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""
        clips, _, dim = self.source.shape
        return clips, len(self.indices), dim

    @property
    def like(self) -> Array:
        """Empty array of the library, device and dtype of the head vectors."""
        return self.source.like[:, :0]

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Read the range from the first to the last selected head, and return the selected heads."""
        selected = self.indices[heads]
        if len(selected) == 0:
            return self.source.read(clips, slice(0, 0))
        heads_in_range = self.source.read(clips, slice(int(selected[0]), int(selected[-1]) + 1))
        return heads_in_range[:, convert_like(heads_in_range, selected - selected[0])]

    def __getitem__(self, indices: NDArray[np.integer]) -> HeadSubset:
        return HeadSubset(self.source[indices], self.indices)


def find_cache_rows(X: Any) -> HeadRows | None:
    """Return the rows of a head cache if ``X`` is a cache or a selection of its rows, else None."""
    if isinstance(X, HeadCache):
        return X[:]
    return X if isinstance(X, HeadRows) else None


def find_extraction(X: Any) -> Extraction | None:
    """Return how the head vectors in ``X`` were extracted, or None if ``X`` does not carry this information.

    Head caches carry it, and so does any array with an attribute ``extraction`` of type
    :class:`calm.extract.Extraction`.
    """
    rows = find_cache_rows(X)
    extraction = getattr(X, "extraction", None) if rows is None else rows.extraction
    return extraction if isinstance(extraction, Extraction) else None


def is_non_numpy_array(X: Any) -> bool:
    """Return whether ``X`` is an array of a library other than numpy, such as a torch tensor."""
    return is_array_api_obj(X) and not is_numpy(X)


def convert_lists(X: Any) -> Any:
    """Convert a list or tuple to an array; return other inputs unchanged."""
    return np.asarray(X) if isinstance(X, list | tuple) else X


def join_layers(X: Any) -> Any:
    """Reshape ``(clips, layers, heads, dim)`` to ``(clips, layers · heads, dim)``; return other shapes unchanged."""
    X = convert_lists(X)
    if getattr(X, "ndim", None) != 4:
        return X
    return rearrange(X, "clips layers heads dim -> clips (layers heads) dim")


def split_heads(X: Array, n_heads: int | None) -> Array:
    """Reshape an array to ``(clips, heads, dim)``.

    Parameters
    ----------
    X : array of shape (n_clips, n_heads, head_dim) or (n_clips, n_heads * head_dim)
        Head vectors.
    n_heads : int or None
        Number of heads in a two-dimensional array. None treats it as one head.

    Returns
    -------
    array of shape (n_clips, n_heads, head_dim)
        Head vectors.

    Raises
    ------
    ValueError
        If ``X`` has neither two nor three dimensions, or its features cannot be divided equally among the heads.

    Examples
    --------
    >>> import numpy as np
    >>> split_heads(np.zeros((5, 12)), n_heads=4).shape
    (5, 4, 3)
    """
    if X.ndim == 3:
        return X
    if X.ndim != 2:
        raise ValueError(
            f"X has shape {tuple(X.shape)}; "
            "expected (clips, heads, dim), (clips, layers, heads, dim) or (clips, features)"
        )
    n_heads = 1 if n_heads is None else n_heads
    if n_heads < 1 or X.shape[1] % n_heads:
        raise ValueError(f"X has {X.shape[1]} features per clip, which is not a multiple of n_heads={n_heads!r}")
    return rearrange(X, "clips (heads dim) -> clips heads dim", heads=n_heads)


def check_tensor(X: Array) -> Array:
    """Validate a tensor as scikit-learn validates numpy arrays, and convert other dtypes than float64 to float32.

    Raises
    ------
    ValueError
        If the tensor has no heads, or contains NaN or infinity.
    """
    xp = namespace(X)
    if X.ndim < 2 or 0 in X.shape[1:]:
        raise ValueError(f"X has shape {tuple(X.shape)}; expected (clips, heads, dim)")
    X = X.detach() if hasattr(X, "detach") else X  # no gradients are needed
    if X.dtype not in (xp.float32, xp.float64):
        X = xp.astype(X, xp.float32)
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError("X contains NaN or infinity")
    return X


def head_blocks(heads: HeadVectors, numbers: int = BLOCK_SIZE, min_blocks: int = 1) -> list[slice]:
    """Split the heads of a support set into blocks of about ``numbers`` values, and at least one head each.

    If there are few clips, the covariance of a head is larger than its vectors and determines the block size. There
    are at least ``min_blocks`` blocks, if there are as many heads.
    """
    clips, n_heads, dim = heads.shape
    max_heads = int(numbers / max(1, max(clips, 4 * dim) * dim * _heads_read_per_head(heads)))
    return list(chunk_slices(n_heads, max(1, min(max_heads, -(-n_heads // min_blocks)))))


def _heads_read_per_head(heads: HeadVectors) -> float:
    """Return how many heads are read from the source for each selected head."""
    if not isinstance(heads, HeadSubset) or len(heads.indices) == 0:
        return 1.0
    return float(heads.indices[-1] - heads.indices[0] + 1) / len(heads.indices)


def support_blocks(X: Array, n_classes: int) -> Iterator[slice]:
    """Split clips ``(n, heads, dim)`` so that the similarities of a block to all classes fit into a processor cache."""
    return chunk_slices(X.shape[0], max(1, _CACHED_NUMBERS // max(1, X.shape[1] * max(n_classes, X.shape[2]))))


def query_blocks(heads: HeadVectors, available_cores: int) -> Iterator[slice]:
    """Split queries into blocks, so that memory does not depend on their number and every core has a block."""
    n_clips, n_heads, dim = heads.shape
    source = heads.source if isinstance(heads, HeadSubset) else heads
    max_clips = max(1, int(_QUERY_NUMBERS / (n_heads * dim * _heads_read_per_head(heads))))
    if isinstance(source, ArrayHeads):
        max_clips = _QUERY_CLIPS if source is heads else max(max_clips, 256)
    return chunk_slices(n_clips, max(1, min(max_clips, -(-n_clips // available_cores))))
