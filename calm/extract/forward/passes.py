"""Batches through a model, one after the other, taken apart where memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from calm.extract.forward.feed import Batch, BatchSize, FailedClip, Feed

Found = TypeVar("Found")


def passes(
    feed: Feed,
    size: BatchSize,
    work: Callable[[Batch], Found],
    *,
    rows: Sequence[int] | None = None,
    workers: int | None = None,
) -> Iterator[tuple[Batch, Found | None]]:
    """Do some work on every batch of a feed.

    Parameters
    ----------
    feed : Feed
    size : BatchSize
        Learns what memory suffices for.
    work : callable
        Of a batch with clips in it. Where it runs out of a GPU's memory, it is done again on each half.
    rows, workers
        See :meth:`Feed.batches`.

    Yields
    ------
    batch : Batch
    found : what ``work`` returned, or None for a batch of clips that failed
    """
    for batch in feed.batches(size, rows=rows, workers=workers):
        yield from _in_parts(feed, batch, size, work)


def _in_parts(
    feed: Feed, batch: Batch, size: BatchSize, work: Callable[[Batch], Found]
) -> Iterator[tuple[Batch, Found | None]]:
    import torch

    clips, found = len(batch.rows), None
    try:
        if clips:
            found = work(batch)
        enough = True
    except torch.OutOfMemoryError:
        enough = False  # what the failed pass holds is free only when this block is left
    if enough:
        size.passed(clips, feed.lalm.device)
        yield batch, found
        return
    size.failed(clips)
    if clips == 1:
        # Elsewhere there may be enough: it is told without a length, and so tried again.
        why = FailedClip(f"{feed.lalm.device} has no memory for it")
        none = np.empty(0)
        yield Batch(none.astype(np.int64), {}, none, none, {int(batch.rows[0]): why}), None
        return
    for part in np.array_split(batch.rows, 2):
        for again in feed.read(part.tolist()):
            yield from _in_parts(feed, again, size, work)
