"""Select rows as numpy does, with memory that grows with the selection and not with the cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Row indices in any order. Evenly spaced rows are a range, which takes no memory.
Rows = range | NDArray[np.int64]

_ACCEPTED = "index, list of indices, mask or slice"


def select_rows(rows: Rows, selection: Any) -> Rows:
    """Select among rows by index, list of indices, mask or slice.

    The selection may be followed by an Ellipsis, as in ``X[selection, ...]``.

    Raises
    ------
    IndexError
        If an index is out of range, a mask has the wrong length, or the selection has another type.

    Examples
    --------
    >>> select_rows(range(10), slice(2, None, 3)), select_rows(range(10), -1)
    (range(2, 10, 3), array([9]))
    >>> select_rows(range(10), [True] * 4 + [False] * 6)
    array([0, 1, 2, 3])
    """
    if isinstance(selection, tuple):
        selection = _drop_ellipsis(selection)
    if isinstance(selection, slice):
        return rows[selection]
    if isinstance(selection, range):
        selection = np.arange(selection.start, selection.stop, selection.step)
    indices = np.asarray(selection)
    if indices.size == 0 and indices.ndim == 1:
        indices = indices.astype(np.int64) if indices.dtype != bool else indices
    if indices.dtype == bool:
        if indices.shape != (len(rows),):
            raise IndexError(f"a mask of shape {indices.shape} does not match {len(rows)} clips")
        indices = np.flatnonzero(indices)
    elif indices.dtype.kind not in "iu" or indices.ndim > 1:
        raise IndexError(f"select clips by {_ACCEPTED}, not by {selection!r}")
    indices = np.atleast_1d(indices)
    is_outside = (indices < -len(rows)) | (indices >= len(rows))
    if is_outside.any():
        raise IndexError(f"clip index {indices[is_outside][0]} is out of range for {len(rows)} clips")
    indices = indices.astype(np.int64)
    indices = np.where(indices < 0, indices + len(rows), indices)
    return rows.start + rows.step * indices if isinstance(rows, range) else rows[indices]


def _drop_ellipsis(selection: tuple[Any, ...]) -> Any:
    """Return ``rows`` of ``[rows, ...]``, which is how scikit-learn indexes arrays."""
    if len(selection) not in (1, 2) or selection[0] is Ellipsis or any(rest is not Ellipsis for rest in selection[1:]):
        raise IndexError(f"select clips by {_ACCEPTED}, alone or before an Ellipsis, not by {selection!r}")
    return selection[0]


def find_runs(rows: NDArray[np.integer]) -> Iterator[slice]:
    """Split rows into runs of consecutive indices, so that each run can be read or written in one piece."""
    breaks = np.diff(rows, prepend=rows[:1] - 2) != 1
    starts = np.flatnonzero(breaks)
    for start, stop in itertools.pairwise([*starts.tolist(), len(breaks)]):
        yield slice(start, stop)


def split_into_blocks(rows: NDArray[np.int64], max_length: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Group rows into blocks, each of which can be read in one piece of at most ``max_length`` rows.

    Yields
    ------
    span : slice
        The rows to read.
    positions : array of int
        Positions in ``rows`` of those rows that are in the span.
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    start = 0
    while start < len(rows):
        first = int(ordered[start])
        stop = int(np.searchsorted(ordered, first + max_length))
        yield slice(first, int(ordered[stop - 1]) + 1), order[start:stop]
        start = stop
