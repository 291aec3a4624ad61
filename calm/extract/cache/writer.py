"""Filling a head cache so that a kill at any moment loses nothing; :mod:`calm.extract.cache.reader` has the layout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.file import open_cache_file, system_words
from calm.extract.cache.reader import DONE, FAILED, PENDING, HeadCache

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

    def unfit(self, vectors: NDArray[np.float32]) -> dict[int, str]:
        """Tell which of some head vectors would overflow the storage, and why, by their place in the array."""
        largest = np.abs(vectors).max(axis=(1, 2, 3), initial=0.0)
        return {
            int(i): f"head vectors reach {largest[i]:.3g}, more than {self.storage} holds: extract with float32 storage"
            for i in np.flatnonzero(largest > np.finfo(self.storage).max)
        }

    def write(
        self,
        rows: NDArray[np.integer],
        vectors: NDArray[np.float32],
        seconds: NDArray[np.floating],
        peak: NDArray[np.floating],
    ) -> None:
        """Store the head vectors of some clips, and only then mark the clips as done.

        Parameters
        ----------
        rows : array of int (n,)
        vectors : array (n, layers, heads, dim)
        seconds, peak : arrays (n,)

        Raises
        ------
        OSError
            If the file cannot be written; clips not marked as done by then stay pending.
        """
        stored = vectors.astype(self.storage)
        try:
            for row, vector, length, level in zip(rows, stored, seconds, peak, strict=True):
                self._file["heads"][row] = vector
                self._describe(row, length, level)
            self._acknowledge(rows, DONE)
        except OSError as error:
            raise OSError(f"cannot write to {self.path}: {system_words(error)}; what is done so far is kept") from error

    def fail(self, row: int, reason: str, seconds: float = np.nan, peak: float = np.nan) -> None:
        """Mark a clip as failed; ``seconds`` tells that it could be read, and failed in the model."""
        self._file["reason"][row] = reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
        self._describe(row, seconds, peak)
        self._acknowledge([row], FAILED)

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
