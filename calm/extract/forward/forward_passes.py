"""Forward passes over batches, which are split if memory runs out or a clip makes the model raise an exception."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from calm.extract.errors import is_internal_error, is_out_of_memory, short_message
from calm.extract.forward.batch_loader import Batch, BatchLoader
from calm.extract.forward.batch_size import BatchSize
from calm.extract.result import ClipResult

#: Function from a batch to an object whose ``numpy()`` returns an array with one row per clip.
RunModel = Callable[[Batch], Any]


def forward_passes(
    loader: BatchLoader,
    size: BatchSize,
    run_model: RunModel,
    *,
    rows: Sequence[int] | None = None,
    workers: int | None = None,
) -> Iterator[list[ClipResult]]:
    """Run a model over all clips of a loader.

    The output of a batch is fetched only after the next batch has started, so that a GPU does not wait. A batch is
    split if memory runs out, or if a clip makes the model raise an exception. Such a clip fails alone, provided that
    the model accepts a control clip. Exceptions raised by calm's own code are not caught.

    Parameters
    ----------
    loader : BatchLoader
        Source of batches.
    size : BatchSize
        Batch size, which adapts to the memory.
    run_model : callable
        Function that runs the model on a non-empty batch.
    rows, workers
        See :meth:`BatchLoader.batches`.

    Yields
    ------
    list of ClipResult
        Results of one batch, or of clips that failed before they reached the model. Batches come in no fixed order.
    """
    previous: tuple[Batch, Any] | None = None
    try:
        for output in _run_batches(loader, size, run_model, rows, workers):
            if previous is not None:
                finished, previous = previous, None
                yield _fetch_results(*finished)
            if isinstance(output, list):
                yield output
            else:
                previous = output
    except Exception:  # raised again below: the previous batch succeeded, and its results must not be lost
        if previous is not None:
            yield _fetch_results(*previous)
        raise
    if previous is not None:
        yield _fetch_results(*previous)


def _run_batches(
    loader: BatchLoader, size: BatchSize, run_model: RunModel, rows: Sequence[int] | None, workers: int | None
) -> Iterator[tuple[Batch, Any] | list[ClipResult]]:
    """Yield each batch with the model's output, and lists of clips that failed."""
    for loaded in loader.batches(size, rows=rows, workers=workers):
        if isinstance(loaded, list):
            yield loaded
        else:
            yield from _run_batch_or_parts(loader, loaded, size, run_model)


def _fetch_results(batch: Batch, output: Any) -> list[ClipResult]:
    """Wait for the model's output, and mark clips as failed whose values are not finite."""
    values = output.numpy()
    is_finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    reason = "the model returned NaN or infinity for it: use another dtype"
    return [
        replace(clip, value=value) if finite else replace(clip, reason=reason)
        for clip, value, finite in zip(batch.clips, values, is_finite, strict=True)
    ]


def _run_batch_or_parts(
    loader: BatchLoader, batch: Batch, size: BatchSize, run_model: RunModel
) -> Iterator[tuple[Batch, Any] | list[ClipResult]]:
    """Run the model on a batch; if that fails, run it on the two halves, recursively."""
    clips, model_error = len(batch.clips), ""
    try:
        output = run_model(batch)
    except Exception as error:  # a model may raise any exception: find out whether the clips or the model cause it
        output, out_of_memory = None, is_out_of_memory(error)
        if not out_of_memory:
            if is_internal_error(error) or not _accepts_control_clip(loader, run_model):
                raise
            model_error = short_message(error)
    # Outside the except block, the exception no longer keeps the tensors of the failed pass in memory.
    if output is not None:
        size.record_success(clips, loader.device)
        yield batch, output
    elif clips == 1:
        yield [_make_failed_result(batch.clips[0], loader, model_error)]
    else:
        if out_of_memory:
            size.record_out_of_memory(clips)
        for half in np.array_split(batch.rows, 2):
            for reloaded in loader.read(half.tolist()):
                if isinstance(reloaded, list):
                    yield reloaded
                else:
                    yield from _run_batch_or_parts(loader, reloaded, size, run_model)


def _make_failed_result(clip: ClipResult, loader: BatchLoader, model_error: str) -> ClipResult:
    """Return the result of a clip that fails even as a batch of one."""
    if model_error:
        return replace(clip, reason=f"the model raised an error for it: {model_error}")
    # Without a length, the next run tries the clip again: it may run where there is more memory.
    return ClipResult(clip.row, reason=f"out of memory on {loader.device}, even alone", content=clip.content)


def _accepts_control_clip(loader: BatchLoader, run_model: RunModel) -> bool:
    """Return whether the model runs on a clip that every model must accept."""
    try:
        run_model(loader.control_batch()).numpy()
    except Exception:  # noqa: BLE001 - the caller raises the first exception again, which is more informative
        return False
    return True
