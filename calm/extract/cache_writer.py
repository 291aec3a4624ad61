"""Writing a head cache so that a kill at any moment loses nothing; the layout is in :mod:`calm.extract.cache`."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract.cache import DONE, FAILED, FORMAT, FORMAT_VERSION, PENDING, HeadCache, open_cache_file
from calm.extract.clips import Clip
from calm.extract.request import Fingerprint, Request

_REASON_BYTES = 300
_HDF5_BYTES = 2**16  # more than the file's own structure takes


class CacheWriter:
    """Fill a head cache, alone: a second writer is refused.

    Raises
    ------
    BlockingIOError
        If another process is writing to it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = open_cache_file(self.path, "r+", locking="best-effort")
        except BlockingIOError:
            raise BlockingIOError(f"{self.path} is being written by another process") from None
        self._descriptor = self._file.id.get_vfd_handle()
        self.status: NDArray[np.uint8] = self._file["status"][:]  #: as it was on opening

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def unfit(self, vectors: NDArray[np.float32]) -> dict[int, str]:
        """Tell which of some head vectors would overflow the cache's storage, and why, by their place in the array."""
        storage = self._file["heads"].dtype
        largest = np.abs(vectors).max(axis=(1, 2, 3), initial=0.0)
        return {
            int(i): f"head vectors reach {largest[i]:.3g}, more than {storage} holds: extract with float32 storage"
            for i in np.flatnonzero(largest > np.finfo(storage).max)
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
        stored = vectors.astype(self._file["heads"].dtype)
        try:
            for row, vector, length, level in zip(rows, stored, seconds, peak, strict=True):
                self._file["heads"][row] = vector
                self._file["seconds"][row] = length
                self._file["peak"][row] = level
            self._acknowledge(rows, DONE)
        except OSError as error:
            raise OSError(f"cannot write to {self.path}: {_reason(error)}; what is done so far is kept") from error

    def take_over(self, source: CacheWriter, rows: Mapping[int, int]) -> None:
        """Copy the rows of another cache, ``{row here: row there}``, and then mark them as done."""
        for name in ("heads", "seconds", "peak"):
            for here, there in rows.items():
                self._file[name][here] = source._file[name][there]
        self._acknowledge(list(rows), DONE)

    def fail(self, row: int, reason: str) -> None:
        """Mark a clip as failed."""
        self._file["reason"][row] = _fit_bytes(reason, _REASON_BYTES)
        self._acknowledge([row], FAILED)

    def _acknowledge(self, rows: Any, status: int) -> None:
        self._sync()
        for row in rows:
            self._file["status"][row] = status
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._descriptor)


def create_cache(
    path: str | Path,
    clips: Sequence[Clip],
    texts: Sequence[str],
    heads_shape: tuple[int, int, int],
    request: Request,
    fingerprint: Fingerprint,
    *,
    storage: str = "float16",
    made_with: dict[str, str] | None = None,
) -> None:
    """Allocate a cache for a list of clips, all of them pending.

    Parameters
    ----------
    path : path
        Must not exist yet.
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.
    heads_shape : tuple of int
        ``(layers, heads, dim)``.
    request, fingerprint
    storage : {"float16", "float32"}
    made_with : dict, optional
        Versions of the software, for the record.

    Raises
    ------
    FileExistsError
        If the file exists.
    OSError
        If it cannot be written, or the disk is too full for all of it.
    """
    path = Path(path)
    _clear_stale_parts(path)
    described = _described(clips, texts)
    by_clip: dict[str, tuple[tuple[int, ...], np.dtype[Any], Any]] = {
        "heads": (heads_shape, np.dtype(storage), None),
        "status": ((), np.dtype(np.uint8), PENDING),
        "reason": ((), h5py.string_dtype("utf-8", _REASON_BYTES), b""),
        "seconds": ((), np.dtype(np.float32), np.nan),
        "peak": ((), np.dtype(np.float32), np.nan),
    }
    row_bytes = sum(math.prod(shape) * dtype.itemsize for shape, dtype, _ in by_clip.values())
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # HDF5 does not survive a disk that fills up while it closes a file, so room is found before it writes.
        _reserve(part, path, _HDF5_BYTES + len(clips) * row_bytes + sum(a.nbytes for a in described.values()))
        with h5py.File(part, "w") as file:
            for name, (shape, dtype, fill) in by_clip.items():
                _preallocated(file, name, (len(clips), *shape), dtype, fill)
            for name, array in described.items():
                file[name] = array
            file.attrs.update(asdict(fingerprint))
            file.attrs.update(
                format=FORMAT,
                format_version=FORMAT_VERSION,
                request=json.dumps(asdict(request)),
                made_with=json.dumps(made_with or {}),
            )
        try:
            _reserve(part, path, part.stat().st_size)
            _move_unless_there(part, path)
        except FileNotFoundError:  # another process took our part for a stale one
            raise BlockingIOError(f"{path} is being made by another process") from None
    finally:
        part.unlink(missing_ok=True)


def extend_cache(path: str | Path, clips: Sequence[Clip], texts: Sequence[str]) -> None:
    """Make a cache anew for other clips, or for the same ones described otherwise, keeping the rows it has.

    Rows are carried over by the clips' names and texts. The new file takes the old one's place when all of them are
    there, so that a kill leaves the old one as it was.

    Parameters
    ----------
    path : path
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.

    Raises
    ------
    BlockingIOError
        If another process is writing to the cache.
    OSError
        If the disk is too full for both files at once.
    """
    path = Path(path)
    with HeadCache(path) as old:
        rows_of = {(str(old.names[row]), str(old.texts[row])): row for row in old.done.tolist()}
    with CacheWriter(path) as source:
        _clear_stale_parts(path)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        create_cache(
            part,
            clips,
            texts,
            old.shape[1:],
            old.request,
            old.fingerprint,
            storage=old.storage,
            made_with=old.made_with,
        )
        try:
            with CacheWriter(part) as target:
                target.take_over(
                    source,
                    {
                        row: rows_of[key]
                        for row, key in enumerate(zip((clip.name for clip in clips), texts, strict=True))
                        if key in rows_of
                    },
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _clear_stale_parts(path: Path) -> None:
    """Remove what processes left that were killed while they allocated."""
    for stale in path.parent.glob(f".{path.name}.*.part"):
        stale.unlink(missing_ok=True)


def _described(clips: Sequence[Clip], texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Lay out what is known of the clips before the first forward pass."""
    columns = {c: _encoded([getattr(clip, c) or "" for clip in clips]) for c in ("name", "label", "split", "group")}
    distinct, which = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
    return columns | {"prompts": _encoded(list(distinct)), "prompt": which.astype(np.int32)}


def _encoded(texts: Sequence[str]) -> NDArray[Any]:
    encoded = [text.encode() for text in texts]
    return np.asarray(encoded, dtype=h5py.string_dtype("utf-8", max(1, *map(len, encoded))))


def _preallocated(file: h5py.File, name: str, shape: tuple[int, ...], dtype: Any, fill: Any = None) -> None:
    """Create a contiguous dataset whose place in the file is taken now, filled only where a fill value is given."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    h5py.h5d.create(
        file.id, name.encode(), h5py.h5t.py_create(dtype, logical=True), h5py.h5s.create_simple(shape), creation
    )
    if fill is not None:
        file[name][:] = fill


def _fit_bytes(text: str, size: int) -> bytes:
    return text.encode()[:size].decode(errors="ignore").encode()  # never half a character


def _reserve(part: Path, path: Path, size: int) -> None:
    """Take blocks of the disk for a file now, so that a full disk is told before the first forward pass."""
    try:
        with part.open("ab") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(f"no room for {path}, which takes {size / 1e6:.1f} MB: {error.strerror}") from error


def _reason(error: Exception) -> str:
    """Find the operating system's own words in those of HDF5."""
    found = re.search(r"error message = '([^']*)'", str(error))
    return found.group(1) if found else str(error)


def _move_unless_there(part: Path, path: Path) -> None:
    """Give a finished file its name, but never replace what another process has made meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise FileExistsError(f"{path} has just been made by another process: run this again") from None
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(f"{path} has just been made by another process: run this again") from None
        part.rename(path)
