"""What the classifiers take for ``X``, seen as head vectors ``(clips, heads, dim)`` that are read part by part."""

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

#: Numbers in one read of a support set: some heads of all of its clips.
BLOCK_SIZE = 2**20
#: Numbers that a processor core's own cache holds several times.
_CACHED_NUMBERS = 2**18
#: Numbers in one read of queries from a cache: all heads of some of the clips.
_QUERY_NUMBERS = 2**22
#: Most clips in one read of queries that are in memory, where reading is free.
_QUERY_CLIPS = 4096


class HeadVectors(Protocol):
    """Head vectors that are read part by part."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""

    @property
    def like(self) -> Array:
        """An empty array of the library, device and precision that :meth:`read` returns; nothing is read for it."""

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Return some heads of some clips, ``(clips, heads, dim)``, in float32 or float64."""

    def __getitem__(self, chosen: Any) -> HeadVectors:
        """Choose clips."""


@dataclass(frozen=True)
class ArrayHeads:
    """Head vectors that are in memory already, in numpy or torch."""

    X: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""
        clips, heads, dim = self.X.shape
        return clips, heads, dim

    @property
    def like(self) -> Array:
        """No clips."""
        return self.X[:0]

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Return a view."""
        return self.X[clips, heads]

    def __getitem__(self, chosen: NDArray[np.integer]) -> ClipSubset:
        return ClipSubset(self, chosen)


@dataclass(frozen=True)
class StoredHeads:
    """Rows of a head cache, read from the file part by part; the heads of all layers are one axis."""

    rows: HeadRows

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``."""
        clips, layers, heads, dim = self.rows.shape
        return clips, layers * heads, dim

    @property
    def like(self) -> NDArray[np.float32]:
        """An empty array of the kind that is read."""
        return np.empty((0, *self.shape[1:]), dtype=np.float32)

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read from the file."""
        return self.rows.read(clips, heads)

    def __getitem__(self, chosen: NDArray[np.integer]) -> StoredHeads:
        return StoredHeads(self.rows[chosen])


@dataclass(frozen=True)
class ClipSubset:
    """Some of the clips in memory, copied part by part."""

    whole: ArrayHeads
    chosen: NDArray[np.integer]

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``, of those chosen."""
        return len(self.chosen), *self.whole.shape[1:]

    @property
    def like(self) -> Array:
        """No clips."""
        return self.whole.like

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Return a copy."""
        X = self.whole.X[:, heads]
        return X[convert_like(X, self.chosen[clips])]

    def __getitem__(self, chosen: NDArray[np.integer]) -> ClipSubset:
        return ClipSubset(self.whole, self.chosen[chosen])


@dataclass(frozen=True)
class HeadSubset:
    """Some of the heads, wherever they are."""

    whole: HeadVectors
    chosen: NDArray[np.int64]  #: ascending

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, heads, dim)``, of those chosen."""
        clips, _, dim = self.whole.shape
        return clips, len(self.chosen), dim

    @property
    def like(self) -> Array:
        """No clips."""
        return self.whole.like[:, :0]

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> Array:
        """Read what lies between the first and the last of these heads, and return those chosen."""
        wanted = self.chosen[heads]
        if len(wanted) == 0:
            return self.whole.read(clips, slice(0, 0))
        read = self.whole.read(clips, slice(int(wanted[0]), int(wanted[-1]) + 1))
        return read[:, convert_like(read, wanted - wanted[0])]

    def __getitem__(self, chosen: NDArray[np.integer]) -> HeadSubset:
        return HeadSubset(self.whole[chosen], self.chosen)


def find_cache_rows(X: Any) -> HeadRows | None:
    """Return the rows of a head cache that ``X`` stands for, or None if it is something else."""
    if isinstance(X, HeadCache):
        return X[:]
    return X if isinstance(X, HeadRows) else None


def find_extraction(X: Any) -> Extraction | None:
    """Return how the head vectors in ``X`` were made, where it knows; None of a plain array.

    Rows of a cache know, and any array that has an :class:`calm.extract.Extraction` as its attribute ``extraction``.
    """
    rows = find_cache_rows(X)
    made = getattr(X, "extraction", None) if rows is None else rows.extraction
    return made if isinstance(made, Extraction) else None


def is_non_numpy_array(X: Any) -> bool:
    """Tell whether ``X`` is an array of another library than numpy, such as a torch tensor."""
    return is_array_api_obj(X) and not is_numpy(X)


def join_layers(X: Any) -> Any:
    """Put the heads of all layers on one axis: ``(clips, layers, heads, dim)`` to ``(clips, layers · heads, dim)``.

    Whatever has another shape stays as it is.
    """
    if isinstance(X, list | tuple):
        X = np.asarray(X)
    if getattr(X, "ndim", None) != 4:
        return X
    return rearrange(X, "clips layers heads dim -> clips (layers heads) dim")


def split_heads(X: Array, n_heads: int | None) -> Array:
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
            f"X has shape {tuple(X.shape)}; expected (clips, heads, dim), (clips, layers, heads, dim) or "
            f"(clips, features)"
        )
    heads = 1 if n_heads is None else n_heads
    if heads < 1 or X.shape[1] % heads:
        raise ValueError(f"X has {X.shape[1]} features a clip, which do not split into n_heads={n_heads!r}")
    return rearrange(X, "clips (heads dim) -> clips heads dim", heads=heads)


def check_tensor(X: Array) -> Array:
    """Check an array of another library as scikit-learn checks numpy's; half precision becomes float32.

    Raises
    ------
    ValueError
        If it is empty, or holds NaN or infinity.
    """
    xp = namespace(X)
    if X.ndim < 2 or 0 in X.shape[1:]:
        raise ValueError(f"X has shape {tuple(X.shape)}; expected (clips, heads, dim)")
    X = X.detach() if hasattr(X, "detach") else X  # nothing here is differentiated
    if X.dtype not in (xp.float32, xp.float64):
        X = xp.astype(X, xp.float32)
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError("X contains NaN or infinity")
    return X


def head_blocks(heads: HeadVectors, numbers: int = BLOCK_SIZE, least: int = 1) -> list[slice]:
    """Cut the heads of a support set into parts whose vectors, of all clips, are so many numbers, or one head.

    Where clips are few, a head's covariance is what takes the room. There are as many parts as ``least``, if there are
    as many heads.
    """
    clips, n_heads, dim = heads.shape
    most = int(numbers / max(1, max(clips, 4 * dim) * dim * _heads_read_per_head(heads)))
    return list(chunk_slices(n_heads, max(1, min(most, -(-n_heads // least)))))


def _heads_read_per_head(heads: HeadVectors) -> float:
    """Return how many heads are read for each that is wanted."""
    if not isinstance(heads, HeadSubset) or len(heads.chosen) == 0:
        return 1.0
    return float(heads.chosen[-1] - heads.chosen[0] + 1) / len(heads.chosen)


def support_blocks(X: Array, classes: int) -> Iterator[slice]:
    """Cut clips ``(n, heads, dim)`` so that what is computed for each of their classes stays in a processor's cache."""
    return chunk_slices(X.shape[0], max(1, _CACHED_NUMBERS // max(1, X.shape[1] * max(classes, X.shape[2]))))


def query_blocks(heads: HeadVectors, available_cores: int) -> Iterator[slice]:
    """Cut queries into parts, so that memory does not depend on their number and every core has some."""
    clips, n_heads, dim = heads.shape
    whole = heads.whole if isinstance(heads, HeadSubset) else heads
    most = max(1, int(_QUERY_NUMBERS / (n_heads * dim * _heads_read_per_head(heads))))
    if isinstance(whole, ArrayHeads):
        most = _QUERY_CLIPS if whole is heads else max(most, 256)
    return chunk_slices(clips, max(1, min(most, -(-clips // available_cores))))
