"""Fill a head cache so that a kill at any moment loses no finished clip; see :mod:`calm.extract.cache.layout`."""

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
from calm.extract.cache.layout import DIGEST_BYTES, DONE, FAILED, OLDEST_WRITABLE_VERSION, PENDING, REASON_BYTES
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.selection import find_runs
from calm.extract.result import ClipResult

#: Bytes of head vectors copied at a time from one cache to another.
_COPY_BYTES = 2**25


class CacheWriter(HeadCache):
    """Head cache opened for writing, with an exclusive file lock.

    Only one process can write to a cache; others can read it meanwhile with :class:`HeadCache`.

    Parameters
    ----------
    path : path
        The HDF5 file, from :func:`create_cache`.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    BlockingIOError
        If another process is writing to the file.
    OSError
        If this process has the file open, or cannot write to it.
    ValueError
        If the file is not a head cache, is damaged, or has another format version that cannot be written.

    See Also
    --------
    calm.extract.extract_to_cache : Create or resume a cache, and fill it.
    calm.extract.create_cache : Create a cache with all clips pending.
    calm.extract.HeadCache : Reader of a cache, with all attributes.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from calm.extract import CacheWriter, Clip, ClipResult, Fingerprint, Request, create_cache
    >>> clips = [Clip("1.wav", "dog/1.wav", "dog"), Clip("2.wav", "rain/2.wav", "rain")]
    >>> fingerprint = Fingerprint("weights", "processor", "float32", "What?", 1, 16000, 30.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     create_cache(f"{folder}/heads.h5", clips, ["What?"] * 2, (4, 8, 16), Request("tiny"), fingerprint)
    ...     with CacheWriter(f"{folder}/heads.h5") as writer:
    ...         stored = writer.write([ClipResult(0, np.ones((4, 8, 16)), seconds=2.0)])
    ...         writer.done.tolist(), writer.pending.tolist()
    ([0], [1])
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        with close_on_error(self._file):
            if self.version < OLDEST_WRITABLE_VERSION:
                raise ValueError(
                    f"{path} has format version {self.version}, which can be read but no longer written: "
                    f"extract again to another file"
                )

    def _open(self) -> h5py.File:
        return open_cache_file(self.path, "r+", locking="best-effort")

    @property
    def pending(self) -> NDArray[np.int64]:
        """Indices of the clips to extract: pending clips, and failed clips that could not be decoded.

        A clip that was decoded and then failed in the model is not tried again.
        """
        failed_to_decode = (self.status == FAILED) & np.isnan(self.seconds)
        return np.flatnonzero((self.status == PENDING) | failed_to_decode)

    def update_modified_times(self, rows: NDArray[np.int64], times: Sequence[int] | NDArray[np.int64]) -> None:
        """Store new modification times of files whose content is the same, so that they are not hashed again.

        If the process is killed on the way, some times stay as they were, and these files are hashed once more.

        Parameters
        ----------
        rows : array of int of shape (n_rows,)
            Row indices, ascending.
        times : sequence of int of shape (n_rows,)
            Modification times in nanoseconds.

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
        """Store the results of some clips, and then mark these clips as done or failed.

        Parameters
        ----------
        results : sequence of ClipResult
            Results of different clips that are not done yet. Each has head vectors of shape
            (n_layers, n_heads, head_dim), or the reason of its failure.

        Returns
        -------
        list of ClipResult
            The results as stored. Head vectors that overflow the storage dtype become a failure.

        Raises
        ------
        ValueError
            If a clip is already done. Its row never changes, because others may be reading it.
        OSError
            If the file cannot be written. Clips that are not marked by then stay pending.
        """
        stored = [self._make_storable(result) for result in results]
        ascending = sorted(stored, key=lambda result: result.row)
        self._check_not_done(_rows(ascending))
        done = [result for result in ascending if not result.failed]
        failed = [result for result in ascending if result.failed]
        with self._writing():
            self._mark_pending(_rows(ascending))
            self._put_metadata(ascending)
            self._put("heads", _rows(done), [result.value for result in done])
            self._put("reason", _rows(failed), [result.reason.encode() for result in failed])
            self._mark_done({DONE: _rows(done), FAILED: _rows(failed)})
        return stored

    def _check_not_done(self, rows: NDArray[np.int64]) -> None:
        done = rows[self.status[rows] == DONE]
        if len(done):
            raise ValueError(f"{self.path}: row {done[0]} ({self.read_names(done[:1])[0]!r}) is already done")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Name the file in errors of the operating system."""
        try:
            yield
        except OSError as error:
            raise OSError(f"cannot write to {self.path}: {os_error_message(error)}; finished clips are kept") from error

    def _make_storable(self, result: ClipResult) -> ClipResult:
        """Shorten a long reason, and turn head vectors that overflow the storage dtype into a failure."""
        if result.value is None:
            encoded = result.reason.encode(errors="replace")[:REASON_BYTES]  # file names may be invalid text
            return replace(result, reason=encoded.decode(errors="ignore"))
        largest = np.abs(result.value).max(initial=0.0)
        if largest > np.finfo(self.storage).max:
            reason = f"head vectors reach {largest:.3g}, too large for {self.storage}: extract with float32 storage"
            return replace(result, value=None, reason=reason)
        return result

    def _put_metadata(self, results: Sequence[ClipResult]) -> None:
        """Store length, peak and content of clips."""
        rows, contents = _rows(results), [result.content for result in results]
        for column in ("seconds", "decoded_seconds", "peak"):
            known: NDArray[np.float32] = getattr(self, column)
            known[rows] = [getattr(result, column) for result in results]
            if column in self._file:  # version 2 has no decoded_seconds
                self._put(column, rows, known[rows])
        digests = b"".join(content.digest.ljust(DIGEST_BYTES, b"\0") for content in contents)
        self._put("digest", rows, np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES))
        self._put("size", rows, [content.size for content in contents])
        self._put("modified", rows, [content.modified for content in contents])

    def copy_rows_from(self, source: HeadCache, rows: NDArray[np.int64], source_rows: NDArray[np.int64]) -> None:
        """Copy rows of another cache to pending rows of this one, including failures.

        Parameters
        ----------
        source : HeadCache
            A cache of a format version that can be written.
        rows : array of int of shape (n_rows,)
            Rows of this cache to write, ascending.
        source_rows : array of int of shape (n_rows,)
            Rows of ``source`` to read.
        """
        for column in ("seconds", "decoded_seconds", "peak"):
            known: NDArray[np.float32] = getattr(self, column)
            known[rows] = getattr(source, column)[source_rows]
            self._file[column][:] = known
        for column in ("digest", "size", "modified"):
            values = self._read_column(column)
            values[rows] = source._read_column(column)[source_rows]
            self._file[column][:] = values
        status = source.status[source_rows]
        failed, done = status == FAILED, status == DONE
        self._put("reason", rows[failed], source._read_column("reason", source_rows[failed]))
        block = max(1, _COPY_BYTES // (math.prod(self.shape[1:]) * np.dtype(self.storage).itemsize))
        for start in range(0, int(done.sum()), block):
            part = slice(start, start + block)
            self._put("heads", rows[done][part], source._read_stored_vectors(source_rows[done][part]))
        self._mark_done({DONE: rows[done], FAILED: rows[failed]})

    def replace_file_of(self, old: CacheWriter) -> None:
        """Take over the path of a cache that this file has replaced, and close that cache.

        Parameters
        ----------
        old : CacheWriter
            The replaced cache.
        """
        self.path, self._absolute = old.path, old._absolute
        old.close()

    def _put(self, column: str, rows: NDArray[np.int64], values: Any) -> None:
        """Write ascending rows of a dataset, each run of consecutive rows at once."""
        dataset = self._file[column]
        values = np.asarray(values, dtype=dataset.dtype)
        for run in find_runs(rows):
            dataset[int(rows[run.start]) : int(rows[run.start]) + run.stop - run.start] = values[run]

    def _mark_pending(self, rows: NDArray[np.int64]) -> None:
        """Mark failed clips as pending before their rows are overwritten."""
        retried = rows[self.status[rows] != PENDING]
        if len(retried):
            self.status[retried] = PENDING
            self._put("status", retried, self.status[retried])
            self._sync()

    def _mark_done(self, rows_by_status: dict[int, NDArray[np.int64]]) -> None:
        """Set the status of clips after all data written before has reached the disk."""
        self._sync()
        for status, rows in rows_by_status.items():
            self._put("status", rows, np.full(len(rows), status))
            self.status[rows] = status
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())


def _rows(results: Sequence[ClipResult]) -> NDArray[np.int64]:
    return np.array([result.row for result in results], dtype=np.int64)
