"""Batches through a model, one after the other, taken apart where memory, or a clip, does not let them through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from calm.extract.errors import is_internal_error, is_out_of_memory, short_message
from calm.extract.forward.batch_loader import Batch, BatchLoader
from calm.extract.forward.batch_size import BatchSize
from calm.extract.result import ClipResult

#: From a batch to something whose ``numpy()`` has a row for each of its clips.
Work = Callable[[Batch], Any]


def forward_passes(
    loader: BatchLoader, size: BatchSize, work: Work, *, rows: Sequence[int] | None = None, workers: int | None = None
) -> Iterator[list[ClipResult]]:
    """Send the clips of a feed through a model.

    What the model gives for a batch is asked for when the next batch is on its way, so that a GPU need not wait. A
    batch for which memory does not suffice is parted, and so is one in which a clip makes the model raise: that clip
    alone fails, if a clip that any model can take goes through. What our own code raises is raised.

    Parameters
    ----------
    loader : BatchLoader
    size : BatchSize
        Learns what memory suffices for.
    work : callable
        Of a batch with clips in it.
    rows, workers
        See :meth:`BatchLoader.batches`.

    Yields
    ------
    list of ClipResult
        Those of one batch, or of clips that failed before they came to the model; all together in no order.
    """
    before: tuple[Batch, Any] | None = None
    try:
        for passed in _passed(loader, size, work, rows, workers):
            if before is not None:
                last, before = before, None
                yield _finished(*last)
            if isinstance(passed, list):
                yield passed
            else:
                before = passed
    except Exception:  # raised again, whatever it is: the batch before went through, and is not to be lost
        if before is not None:
            yield _finished(*before)
        raise
    if before is not None:
        yield _finished(*before)


def _passed(
    loader: BatchLoader, size: BatchSize, work: Work, rows: Sequence[int] | None, workers: int | None
) -> Iterator[tuple[Batch, Any] | list[ClipResult]]:
    """Send batches through; yield each with what the model gives, and clips that failed."""
    for fed in loader.batches(size, rows=rows, workers=workers):
        if isinstance(fed, list):
            yield fed
        else:
            yield from _in_parts(loader, fed, size, work)


def _finished(batch: Batch, found: Any) -> list[ClipResult]:
    """Wait for what the model gives, and set clips aside for which it is not finite."""
    values = found.numpy()
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    reason = "the model gives NaN or infinity for it: try another dtype"
    return [
        replace(clip, value=value) if fine else replace(clip, reason=reason)
        for clip, value, fine in zip(batch.clips, values, finite, strict=True)
    ]


def _in_parts(
    loader: BatchLoader, batch: Batch, size: BatchSize, work: Work
) -> Iterator[tuple[Batch, Any] | list[ClipResult]]:
    """Send a batch through, or as many parts of it as have to be made."""
    clips, fault = len(batch.clips), ""
    try:
        found = work(batch)
    except Exception as error:  # models raise what they like: whose fault it is has to be found out
        found, short_of_memory = None, is_out_of_memory(error)
        if not short_of_memory:
            if is_internal_error(error) or not _takes_others(loader, work):
                raise
            fault = short_message(error)
    # What the failed pass held is free now that its exception is left.
    if found is not None:
        size.passed(clips, loader.device)
        yield batch, found
    elif clips == 1:
        yield [_set_aside(batch.clips[0], loader, fault)]
    else:
        if short_of_memory:
            size.failed(clips)
        for part in np.array_split(batch.rows, 2):
            for again in loader.read(part.tolist()):
                yield from [again] if isinstance(again, list) else _in_parts(loader, again, size, work)


def _set_aside(clip: ClipResult, loader: BatchLoader, fault: str) -> ClipResult:
    """Say why a clip does not go through even alone."""
    if fault:
        return replace(clip, reason=f"the model cannot take it: {fault}")
    # Elsewhere there may be enough memory: it is told without a length, and so tried again.
    return ClipResult(clip.row, reason=f"{loader.device} has no memory for it", content=clip.content)


def _takes_others(loader: BatchLoader, work: Work) -> bool:
    """Tell whether a clip that any model must be able to take goes through."""
    try:
        work(loader.control()).numpy()
    except Exception:  # noqa: BLE001 - the first exception is raised again, and tells more
        return False
    return True
