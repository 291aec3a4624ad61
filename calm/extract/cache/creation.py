"""Allocating a head cache at its full size, and anew for a longer list of clips."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.atomic_file import AtomicFile, create_atomic_file
from calm.extract.cache.attributes import write_attributes
from calm.extract.cache.clip_keys import clip_keys
from calm.extract.cache.file import close_on_error
from calm.extract.cache.layout import DIGEST_BYTES, LONGEST, REASON_BYTES, TABLES
from calm.extract.cache.writer import CacheWriter
from calm.extract.fingerprint import Fingerprint
from calm.extract.media.clip import Clip
from calm.extract.media.file import check_regular
from calm.extract.request import Request

_HDF5_BYTES = 2**16  # more than the file's own structure takes
_BLOCK = 2**16  # clips whose description is written at a time
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

T = TypeVar("T")


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
        Versions of the software and of the checkpoint, for the record.

    Raises
    ------
    FileExistsError
        If the file exists.
    ValueError
        If a text of a clip holds a zero character, or is longer than ``layout.LONGEST`` allows.
    OSError
        If it cannot be written, is something else than a file, or the disk is too full for all of it.
    """
    path = Path(path)
    if path.exists():
        check_regular(path, path.stat().st_mode)
    with create_atomic_file(path) as part:
        _allocate(part, path, clips, texts, heads_shape, request, fingerprint, storage, made_with or {})
        try:
            part.check()
            _move_unless_there(part.path, path)
        except FileNotFoundError:  # another process took our part for a stale one
            raise BlockingIOError(f"{path} is being made by another process") from None


def extend_cache(
    old: CacheWriter, clips: Sequence[Clip], texts: Sequence[str], *, without: Sequence[int] | NDArray[np.int64] = ()
) -> CacheWriter:
    """Make a cache anew for more clips, or for the same ones described otherwise, keeping the rows it has.

    Rows are carried over by the clips' names and texts. The new file takes the old one's place when all of them are
    there, so that a kill leaves the old one as it was, and whoever has that open goes on reading it. Both lie on the
    disk until then.

    Parameters
    ----------
    old : CacheWriter
        Closed by this.
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.
    without : sequence of int, default=()
        Rows of ``old`` that are not carried over, and so are pending: of clips that have changed.

    Returns
    -------
    CacheWriter
        The new file, already in place and locked.

    Raises
    ------
    OSError
        If the disk is too full for both files.
    """
    path = old.path.resolve()  # a link stays a link
    dropped = set(map(int, without))
    row_of = {key: row for row, key in enumerate(clip_keys(old.names, old.texts)) if row not in dropped}
    there = np.fromiter((row_of.get(key, -1) for key in clip_keys((clip.name for clip in clips), texts)), np.int64)
    with create_atomic_file(path) as part:
        _allocate(
            part, path, clips, texts, old.shape[1:], old.request, old.fingerprint, old.storage, old.made_with
        )  # fmt: skip
        with close_on_error(CacheWriter(part.path)) as new:
            part.check()
            new.copy_rows_from(old, np.flatnonzero(there >= 0), there[there >= 0])
            part.replace(path)  # the lock goes with the file
    new.replace_file_of(old)
    return new


def _allocate(
    part: AtomicFile,
    path: Path,
    clips: Sequence[Clip],
    texts: Sequence[str],
    heads_shape: tuple[int, int, int],
    request: Request,
    fingerprint: Fingerprint,
    storage: str,
    made_with: dict[str, str],
) -> None:
    datasets = _plan(clips, texts, heads_shape, storage)
    # HDF5 does not survive a disk that fills up while it closes a file, so room is found before it writes.
    _reserve(part.file, path, _HDF5_BYTES + sum(dataset.nbytes for dataset in datasets.values()))
    part.file.truncate(0)  # HDF5 begins in an empty one
    with h5py.File(part.file, "w") as file:  # what is open already, and not what its path may lead to by now
        for name, dataset in datasets.items():
            _preallocate(file, name, dataset)
            dataset.write_into(file[name])
        write_attributes(file, request, fingerprint, made_with)
    part.file.flush()
    _reserve(part.file, path, os.fstat(part.file.fileno()).st_size)


@dataclass(frozen=True)
class _Dataset:
    """A dataset to allocate."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    content: Callable[[slice], Any] | None = None  #: of some rows; zeros unless given

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def write_into(self, file: h5py.Dataset) -> None:
        if self.content is None:
            return
        for start in range(0, self.shape[0], _BLOCK):
            block = slice(start, min(start + _BLOCK, self.shape[0]))
            file[block] = self.content(block)


def _plan(
    clips: Sequence[Clip], texts: Sequence[str], heads_shape: tuple[int, int, int], storage: str
) -> dict[str, _Dataset]:
    """Lay out all datasets of a cache, with what is known of the clips before the first forward pass."""
    n = len(clips)
    datasets = {
        "heads": _Dataset((n, *heads_shape), np.dtype(storage)),
        "status": _Dataset((n,), np.dtype(np.uint8)),  # PENDING
        "reason": _Dataset((n,), h5py.string_dtype("utf-8", REASON_BYTES)),
        "seconds": _Dataset((n,), np.dtype(np.float32), lambda _: np.nan),
        "peak": _Dataset((n,), np.dtype(np.float32), lambda _: np.nan),
        "digest": _Dataset((n, DIGEST_BYTES), np.dtype(np.uint8)),
        "size": _Dataset((n,), np.dtype(np.int64)),
        "modified": _Dataset((n,), np.dtype(np.int64)),
        "name": _texts("name", clips, lambda clip: clip.name, lambda clip: clip),
    }
    for column, table in TABLES.items():
        place: dict[str, int] = {}
        values = texts if column == "prompt" else (getattr(clip, column) or "" for clip in clips)
        codes = np.fromiter((place.setdefault(value, len(place)) for value in values), np.int32, n)
        datasets[column] = _Dataset((n,), codes.dtype, codes.__getitem__)
        firsts = zip(place, np.unique(codes, return_index=True)[1].tolist(), strict=True)
        datasets[table] = _texts(column, list(firsts), lambda first: first[0], lambda first: clips[first[1]])
    return datasets


def _texts(column: str, items: Sequence[T], text_of: Callable[[T], str], clip_of: Callable[[T], Clip]) -> _Dataset:
    """Plan a column of texts or a table of them, as wide as the longest, encoded block by block."""

    def encoded(item: T) -> bytes:
        text = text_of(item)
        content, longest = text.encode(), LONGEST[column]
        if len(content) > longest:
            whose = f"the {column} of {clip_of(item).name[:60]!r}"
            raise ValueError(f"{whose} takes {len(content)} bytes, and a cache holds at most {longest}: shorten it")
        if "\0" in text:  # text is filled up with zeros
            raise ValueError(f"{text!r} holds a zero, which no text of a cache may")
        return content

    width = max((len(encoded(item)) for item in items), default=0)
    dtype = h5py.string_dtype("utf-8", max(1, width))
    return _Dataset((len(items),), dtype, lambda block: np.array([encoded(item) for item in items[block]], dtype))


def _preallocate(file: h5py.File, name: str, dataset: _Dataset) -> None:
    """Create a contiguous dataset whose place in the file is taken now; what is not written there reads as zeros."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind, space = h5py.h5t.py_create(dataset.dtype, logical=True), h5py.h5s.create_simple(dataset.shape)
    h5py.h5d.create(file.id, name.encode(), kind, space, creation)


def _reserve(file: BinaryIO, path: Path, size: int) -> None:
    """Take blocks of the disk for a file now, so that a full disk is told before the first forward pass."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OSError(f"no room for {path}, which takes {size / 1e6:.1f} MB: {error.strerror}") from error
        # A file system that cannot reserve; a full disk is then told by the write that meets it.


def _move_unless_there(part: Path, path: Path) -> None:
    """Give a finished file its name, but never replace what another process has made meanwhile."""
    try:
        os.link(part, path)
    except FileNotFoundError:
        raise
    except FileExistsError:
        raise FileExistsError(f"{path} has just been made by another process: run this again") from None
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(f"{path} has just been made by another process: run this again") from None
        part.rename(path)
