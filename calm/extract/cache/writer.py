"""Filling a head cache so that a kill at any moment loses nothing; :mod:`calm.extract.cache.reader` has the layout."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.file import open_cache_file, system_words
from calm.extract.cache.reader import DONE, FAILED, PENDING, HeadCache
from calm.extract.result import ClipResult

REASON_BYTES = 300


class CacheWriter(HeadCache):
    """A head cache opened to be filled, by one process alone: what it reads stays true until it is closed.

    Raises
    ------
    BlockingIOError
        If another process is writing to it.
    """

    def _open(self) -> h5py.File:
        return open_cache_file(self.path, "r+", locking="best-effort")

    @property
    def todo(self) -> NDArray[np.int64]:
        """Indices of the clips to encode: pending ones, and failed ones that could not be read.

        A clip that was read and then failed in the model would fail there again.
        """
        unread = (self.status == FAILED) & np.isnan(self.seconds)
        return np.flatnonzero((self.status == PENDING) | unread)

    def write(self, results: Sequence[ClipResult]) -> list[ClipResult]:
        """Store results of clips, and only then mark the clips as done or failed; return them as they were stored."""
        results = [self._fitting(result) for result in results]
        try:
            for result in results:
                if result.value is None:
                    self._file["reason"][result.row] = (
                        result.reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
                    )
                else:
                    self._file["heads"][result.row] = result.value.astype(self.storage)
                self._describe(result.row, result.seconds, result.peak)
            for status in (DONE, FAILED):
                self._acknowledge([r.row for r in results if r.failed == (status == FAILED)], status)
        except OSError as error:
            raise OSError(f"cannot write to {self.path}: {system_words(error)}; what is done so far is kept") from error
        return results

    def _fitting(self, result: ClipResult) -> ClipResult:
        largest = 0.0 if result.value is None else np.abs(result.value).max(initial=0.0)
        if largest <= np.finfo(self.storage).max:
            return result
        reason = f"head vectors reach {largest:.3g}, more than {self.storage} holds: extract with float32 storage"
        return replace(result, value=None, reason=reason)

    def take_over(self, source: HeadCache, rows: Mapping[int, int]) -> None:
        """Copy rows of another cache, ``{row here: row there}``: head vectors, failures and all."""
        for here, there in rows.items():
            self._file["reason"][here] = source._file["reason"][there]
            self._describe(here, source.seconds[there], source.peak[there])
            if source.status[there] == DONE:
                self._file["heads"][here] = source._file["heads"][there]
        for status in (DONE, FAILED):
            self._acknowledge([here for here, there in rows.items() if source.status[there] == status], status)

    def _describe(self, row: int, seconds: float, peak: float) -> None:
        self._file["seconds"][row] = self.seconds[row] = seconds
        self._file["peak"][row] = self.peak[row] = peak

    def _acknowledge(self, rows: Any, status: int) -> None:
        self._sync()
        for row in rows:
            self._file["status"][row] = self.status[row] = status
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())
