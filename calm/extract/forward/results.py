"""Results of clips put together in the order of their list: the one place where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.result import ClipResult


@dataclass(frozen=True)
class ClipResults:
    """What a model gave for some clips, and which of them failed."""

    rows: NDArray[np.int64]  #: which clips of the list went through, (n,), ascending
    values: NDArray[Any] | None  #: what the model gave for them, (n, ...); None if none went through
    failures: Sequence[ClipResult] = field(default=())  #: those that did not, in the order of the list


def collect_results(
    batches: Iterable[Sequence[ClipResult]], convert: Callable[[NDArray[Any]], NDArray[Any]] | None = None
) -> ClipResults:
    """Put results together in the order of the clips.

    Parameters
    ----------
    batches : iterable of sequences of ClipResult
    convert : callable, default=None
        From the values of a batch ``(b, ...)`` to what is kept of them, so that what is large need not be.

    Examples
    --------
    >>> batches = [[ClipResult(2, np.ones(3)), ClipResult(0, np.zeros(3))], [ClipResult(1, reason="no samples in it")]]
    >>> found = collect_results(batches)
    >>> found.rows, found.values.shape, found.failures[0].reason
    (array([0, 2]), (2, 3), 'no samples in it')
    """
    rows: list[int] = []
    parts: list[NDArray[Any]] = []
    failures: list[ClipResult] = []
    for batch in batches:
        there = [result for result in batch if result.value is not None]
        failures += [result for result in batch if result.failed]
        if there:
            values = np.stack([np.asarray(result.value) for result in there])
            parts.append(values if convert is None else convert(values))
            rows += [result.row for result in there]
    order = np.argsort(np.asarray(rows, dtype=np.int64), kind="stable")
    return ClipResults(
        rows=np.asarray(rows, dtype=np.int64)[order],
        values=np.concatenate(parts)[order] if parts else None,
        failures=tuple(sorted(failures, key=lambda result: result.row)),
    )
