"""Collection of batch results in the order of the clips, for callers that do not write a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.result import ClipResult


@dataclass(frozen=True)
class ClipResults:
    """Values that a model returned for a list of clips, and the clips that failed.

    Parameters
    ----------
    rows : int array of shape (n,)
        Positions, in the list of clips, of those that succeeded, in ascending order.
    values : array of shape (n, ...) or None
        Value of each of these clips. None if no clip succeeded.
    failures : sequence of ClipResult, default=()
        Results of the clips that failed, in the order of the list.

    See Also
    --------
    calm.extract.collect_results : Build an instance from batches of results.

    Examples
    --------
    >>> results = ClipResults(rows=np.array([0, 2]), values=np.ones((2, 3)))
    >>> results.values.mean(axis=0), results.failures
    (array([1., 1., 1.]), ())
    """

    rows: NDArray[np.int64]
    values: NDArray[Any] | None
    failures: Sequence[ClipResult] = field(default=())


def collect_results(
    batches: Iterable[Sequence[ClipResult]], convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None
) -> ClipResults:
    """Collect batches of results in the order of the clips.

    Parameters
    ----------
    batches : iterable of sequences of ClipResult
        Results in any order, as :func:`head_vectors` yields them.
    convert : callable, default=None
        Function applied to the values of each batch, an array of shape ``(n_batch, ...)``. Only its result, whose
        first axis also counts clips, is kept in memory. None keeps the values unchanged.

    Returns
    -------
    ClipResults
        Values and failures, sorted by clip.

    See Also
    --------
    calm.extract.head_vectors : Yield the results of clips, batch by batch.
    calm.extract.extract_to_cache : Write the results of clips to an HDF5 file instead.

    Examples
    --------
    >>> batches = [[ClipResult(2, np.ones(3)), ClipResult(0, np.zeros(3))], [ClipResult(1, reason="no samples in it")]]
    >>> results = collect_results(batches)
    >>> results.rows, results.values.shape, results.failures[0].reason
    (array([0, 2]), (2, 3), 'no samples in it')
    """
    rows: list[int] = []
    parts: list[NDArray[Any]] = []
    failures: list[ClipResult] = []
    for batch in batches:
        succeeded = [result for result in batch if result.value is not None]
        failures += [result for result in batch if result.failed]
        if succeeded:
            values = np.stack([np.asarray(result.value) for result in succeeded])
            parts.append(values if convert is None else convert(values))
            rows += [result.row for result in succeeded]
    order = np.argsort(np.asarray(rows, dtype=np.int64), kind="stable")
    return ClipResults(
        rows=np.asarray(rows, dtype=np.int64)[order],
        values=np.concatenate(parts)[order] if parts else None,
        failures=tuple(sorted(failures, key=lambda result: result.row)),
    )
