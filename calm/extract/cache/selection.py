"""Choosing rows as numpy does, in room that grows with what is chosen and not with what there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Rows, ascending or not: a range where they are evenly spaced, which takes no room.
Rows = range | NDArray[np.int64]

_TAKEN = "index, list of indices, mask or slice"


def choose(rows: Rows, chosen: Any) -> Rows:
    """Choose among rows, by index, list of indices, mask or slice; alone, or before an Ellipsis as of an array.

    Raises
    ------
    IndexError
        If an index is out of range, a mask is of another length, or it is none of these.

    Examples
    --------
    >>> choose(range(10), slice(2, None, 3)), choose(range(10), -1), choose(range(10), [True] * 4 + [False] * 6)
    (range(2, 10, 3), array([9]), array([0, 1, 2, 3]))
    """
    if isinstance(chosen, tuple):
        chosen = _first_of(chosen)
    if isinstance(chosen, slice):
        return rows[chosen]
    if isinstance(chosen, range):
        chosen = np.arange(chosen.start, chosen.stop, chosen.step)
    places = np.asarray(chosen)
    if places.size == 0 and places.ndim == 1:
        places = places.astype(np.int64) if places.dtype != bool else places
    if places.dtype == bool:
        if places.shape != (len(rows),):
            raise IndexError(f"a mask of shape {places.shape} does not choose among {len(rows)} clips")
        places = np.flatnonzero(places)
    elif places.dtype.kind not in "iu" or places.ndim > 1:
        raise IndexError(f"clips are chosen by {_TAKEN}, not by {chosen!r}")
    places = np.atleast_1d(places)
    outside = (places < -len(rows)) | (places >= len(rows))
    if outside.any():
        raise IndexError(f"there is no clip {places[outside][0]} among {len(rows)}")
    places = places.astype(np.int64)
    places = np.where(places < 0, places + len(rows), places)
    return rows.start + rows.step * places if isinstance(rows, range) else rows[places]


def _first_of(chosen: tuple[Any, ...]) -> Any:
    """Return what chooses clips in ``[clips, ...]``, as scikit-learn indexes arrays."""
    if len(chosen) not in (1, 2) or chosen[0] is Ellipsis or any(other is not Ellipsis for other in chosen[1:]):
        raise IndexError(f"clips are chosen by {_TAKEN}, alone or before an Ellipsis, not by {chosen!r}")
    return chosen[0]


def runs(*rows: NDArray[np.integer]) -> Iterator[slice]:
    """Split rows where they stop being neighbours, in any of several lists, so that each run is moved in one piece."""
    breaks = np.zeros(len(rows[0]), dtype=bool)
    for some in rows:
        breaks |= np.diff(some, prepend=some[:1] - 2) != 1
    starts = np.flatnonzero(breaks)
    for start, stop in itertools.pairwise([*starts.tolist(), len(breaks)]):
        yield slice(start, stop)


def blocks(rows: NDArray[np.int64], length: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Split rows by where they lie, so that each part can be read in one piece of no more than a length.

    Yields
    ------
    there : slice
        What is to be read.
    which : array of int
        Places of the part's rows in ``rows``; they lie in ``there``.
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    start = 0
    while start < len(rows):
        first = int(ordered[start])
        stop = int(np.searchsorted(ordered, first + length))
        yield slice(first, int(ordered[stop - 1]) + 1), order[start:stop]
        start = stop
