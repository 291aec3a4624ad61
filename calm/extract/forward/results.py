"""Collection of batch results in the order of the clips, for callers that do not write a cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.clip_notes import describe_clip
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
    seconds : float array of shape (n,), default=None
        Length of each of the clips in ``rows`` in seconds before it is cut; None if it was not recorded.
    decoded_seconds : float array of shape (n,), default=None
        Length of each of these clips in seconds that could be decoded; see :class:`calm.extract.DecodedClip`.
    peak : float array of shape (n,), default=None
        Largest absolute sample of each of these clips.

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
    seconds: NDArray[np.float64] | None = None
    decoded_seconds: NDArray[np.float64] | None = None
    peak: NDArray[np.float64] | None = None

    def describe(self, window_seconds: float) -> tuple[tuple[str, ...], ...]:
        """Describe what is unusual about the audio of each clip in ``rows``: cut, truncated, very short or silent.

        Parameters
        ----------
        window_seconds : float
            Maximum clip length in seconds; infinity means no limit.

        Returns
        -------
        tuple of tuple of str
            Notes of each clip, usually none.
        """
        if self.seconds is None or self.decoded_seconds is None or self.peak is None:
            return ((),) * len(self.rows)
        return tuple(
            describe_clip(*facts, window_seconds)
            for facts in zip(self.seconds, self.decoded_seconds, self.peak, strict=True)
        )


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
        Values, lengths, peaks and failures, sorted by clip.

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
    audio_facts: list[tuple[float, float, float]] = []
    parts: list[NDArray[Any]] = []
    failures: list[ClipResult] = []
    for batch in batches:
        succeeded = [result for result in batch if result.value is not None]
        failures += [result for result in batch if result.failed]
        if succeeded:
            values = np.stack([np.asarray(result.value) for result in succeeded])
            parts.append(values if convert is None else convert(values))
            rows += [result.row for result in succeeded]
            audio_facts += [(result.seconds, result.decoded_seconds, result.peak) for result in succeeded]
    order = np.argsort(np.asarray(rows, dtype=np.int64), kind="stable")
    seconds, decoded_seconds, peak = np.array(audio_facts, dtype=np.float64).reshape(-1, 3)[order].T
    return ClipResults(
        rows=np.asarray(rows, dtype=np.int64)[order],
        values=np.concatenate(parts)[order] if parts else None,
        failures=tuple(sorted(failures, key=lambda result: result.row)),
        seconds=seconds,
        decoded_seconds=decoded_seconds,
        peak=peak,
    )
