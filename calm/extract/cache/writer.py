"""Filling a head cache so that a kill at any moment loses nothing; :mod:`calm.extract.cache.layout` has the layout."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.file import close_on_error, open_cache_file, os_error_message
from calm.extract.cache.layout import DIGEST_BYTES, DONE, FAILED, FORMAT_VERSION, PENDING, REASON_BYTES
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.selection import runs
from calm.extract.result import ClipResult

#: Head vectors that are carried over at a time, in bytes.
_CARRIED = 2**25


class CacheWriter(HeadCache):
    """A head cache opened to be filled, by one process alone: what it reads stays true until it is closed.

    Raises
    ------
    BlockingIOError
        If another process is writing to it.
    ValueError
        If it is of an earlier format, besides what :class:`HeadCache` raises.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        with close_on_error(self._file):
            if self.version < FORMAT_VERSION:
                raise ValueError(
                    f"{path} has format version {self.version}, which is read but not written any more: "
                    f"extract again, to another file"
                )

    def _open(self) -> h5py.File:
        return open_cache_file(self.path, "r+", locking="best-effort")

    @property
    def pending(self) -> NDArray[np.int64]:
        """Indices of the clips to encode: pending ones, and failed ones that could not be read.

        A clip that was read and then failed in the model would fail there again.
        """
        unread = (self.status == FAILED) & np.isnan(self.seconds)
        return np.flatnonzero((self.status == PENDING) | unread)

    def note_times(self, rows: NDArray[np.int64], times: Sequence[int] | NDArray[np.int64]) -> None:
        """Note the new times of files that were touched and hold the same, so that they are not digested again.

        A kill on the way leaves some of them as they were, to be digested once more.

        Parameters
        ----------
        rows : array of int (n,)
            Ascending.
        times : sequence of int (n,)
            In nanoseconds.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if len(rows):
            with self._writing():
                self._put("modified", rows, times)
                self._sync()

    def write(self, results: Sequence[ClipResult]) -> list[ClipResult]:
        """Store what became of some clips, and only then mark them as done or failed.

        Parameters
        ----------
        results : sequence of ClipResult
            Of different clips that are not done yet, with head vectors (layers, heads, dim).

        Returns
        -------
        list of ClipResult
            As they were stored: head vectors that overflow the storage are a failure.

        Raises
        ------
        ValueError
            If a clip is done already: its row may be read by others, and never changes.
        OSError
            If the file cannot be written; clips not marked by then stay pending.
        """
        stored = [self._storable(result) for result in results]
        ascending = sorted(stored, key=lambda result: result.row)
        self._check_not_done(_rows(ascending))
        done = [result for result in ascending if not result.failed]
        failed = [result for result in ascending if result.failed]
        with self._writing():
            self._mark_pending(_rows(ascending))
            self._describe(ascending)
            self._put("heads", _rows(done), [result.value for result in done])
            self._put("reason", _rows(failed), [result.reason.encode() for result in failed])
            self._mark_done({DONE: _rows(done), FAILED: _rows(failed)})
        return stored

    def _check_not_done(self, rows: NDArray[np.int64]) -> None:
        done = rows[self.status[rows] == DONE]
        if len(done):
            raise ValueError(f"{self.path}: row {done[0]}, {self.names_of(done[:1])[0]!r}, is done already")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(
                f"cannot write to {self.path}: {os_error_message(error)}; what is done so far is kept"
            ) from error

    def _storable(self, result: ClipResult) -> ClipResult:
        """Return a result as it can be stored."""
        if result.value is None:
            cut = result.reason.encode(errors="replace")[:REASON_BYTES]  # names of files need not be text
            return replace(result, reason=cut.decode(errors="ignore"))
        largest = np.abs(result.value).max(initial=0.0)
        if largest > np.finfo(self.storage).max:
            reason = f"head vectors reach {largest:.3g}, more than {self.storage} holds: extract with float32 storage"
            return replace(result, value=None, reason=reason)
        return result

    def _describe(self, results: Sequence[ClipResult]) -> None:
        """Store all that is known of clips beside head vectors."""
        rows, contents = _rows(results), [result.content for result in results]
        self.seconds[rows], self.peak[rows] = [r.seconds for r in results], [r.peak for r in results]
        self._put("seconds", rows, self.seconds[rows])
        self._put("peak", rows, self.peak[rows])
        digests = b"".join(content.digest.ljust(DIGEST_BYTES, b"\0") for content in contents)
        self._put("digest", rows, np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES))
        self._put("size", rows, [content.size for content in contents])
        self._put("modified", rows, [content.modified for content in contents])

    def copy_rows_from(self, source: HeadCache, here: NDArray[np.int64], there: NDArray[np.int64]) -> None:
        """Copy rows of another cache to rows of this one, that are pending: head vectors, failures and all.

        Parameters
        ----------
        source : HeadCache
            Of the same format.
        here, there : arrays of int (n,)
            Rows of this cache, ascending, and of the other.
        """
        for column in ("seconds", "peak", "digest", "size", "modified"):
            values = self._column(column)
            values[here] = source._column(column)[there]
            self._file[column][:] = values
        self.seconds, self.peak = self._column("seconds"), self._column("peak")
        status = source.status[there]
        failed, done = status == FAILED, status == DONE
        self._put("reason", here[failed], source._column("reason", there[failed]))
        block = max(1, _CARRIED // (math.prod(self.shape[1:]) * np.dtype(self.storage).itemsize))
        for start in range(0, int(done.sum()), block):
            part = slice(start, start + block)
            self._put("heads", here[done][part], source._vectors(there[done][part]))
        self._mark_done({DONE: here[done], FAILED: here[failed]})

    def replace_file_of(self, old: CacheWriter) -> None:
        """Be called as another cache whose place this file has taken, and close that."""
        self.path, self._absolute = old.path, old._absolute
        old.close()

    def _put(self, column: str, rows: NDArray[np.int64], values: Any) -> None:
        """Write rows of a column, ascending; neighbours at once."""
        dataset = self._file[column]
        values = np.asarray(values, dtype=dataset.dtype)
        for run in runs(rows):
            dataset[int(rows[run.start]) : int(rows[run.start]) + run.stop - run.start] = values[run]

    def _mark_pending(self, rows: NDArray[np.int64]) -> None:
        """Mark failed clips as pending before anything of theirs is overwritten."""
        again = rows[self.status[rows] != PENDING]
        if len(again):
            self.status[again] = PENDING
            self._put("status", again, self.status[again])
            self._sync()

    def _mark_done(self, rows: dict[int, NDArray[np.int64]]) -> None:
        """Mark clips once all that was written before is on the disk."""
        self._sync()
        for status, which in rows.items():
            self._put("status", which, np.full(len(which), status))
            self.status[which] = status
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())


def _rows(results: Sequence[ClipResult]) -> NDArray[np.int64]:
    return np.array([result.row for result in results], dtype=np.int64)
