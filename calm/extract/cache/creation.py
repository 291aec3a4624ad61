"""Allocating a head cache at its full size, and anew for a longer list of clips."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.file import FORMAT, FORMAT_VERSION
from calm.extract.cache.reader import PENDING
from calm.extract.cache.writer import REASON_BYTES, CacheWriter
from calm.extract.media.find import Clip
from calm.extract.request import Fingerprint, Request
from calm.parts import part_beside

_HDF5_BYTES = 2**16  # more than the file's own structure takes
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    OSError
        If it cannot be written, or the disk is too full for all of it.
    """
    path = Path(path)
    part = part_beside(path)
    try:
        _allocate(part, path, clips, texts, heads_shape, request, fingerprint, storage, made_with or {})
        _move_unless_there(part, path)
    except FileNotFoundError:  # another process took our part for a stale one
        raise BlockingIOError(f"{path} is being made by another process") from None
    finally:
        part.unlink(missing_ok=True)


def extend_cache(old: CacheWriter, clips: Sequence[Clip], texts: Sequence[str]) -> CacheWriter:
    """Make a cache anew for more clips, or for the same ones described otherwise, keeping the rows it has.

    Rows are carried over by the clips' names and texts. The new file takes the old one's place when all of them are
    there, so that a kill leaves the old one as it was. Both lie on the disk until then.

    Parameters
    ----------
    old : CacheWriter
        Closed by this.
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.

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
    part = part_beside(path)
    row_of = {key: row for row, key in enumerate(zip(old.names.tolist(), old.texts.tolist(), strict=True))}
    keys = enumerate(zip((clip.name for clip in clips), texts, strict=True))
    try:
        _allocate(
            part, path, clips, texts, old.shape[1:], old.request, old.fingerprint, old.storage, old.made_with
        )  # fmt: skip
        new = CacheWriter(part)
        new.take_over(old, {row: row_of[key] for row, key in keys if key in row_of})
        part.replace(path)  # the lock goes with the file
    finally:
        part.unlink(missing_ok=True)
    new.path = old.path
    old.close()
    return new


def _allocate(
    part: Path,
    path: Path,
    clips: Sequence[Clip],
    texts: Sequence[str],
    heads_shape: tuple[int, int, int],
    request: Request,
    fingerprint: Fingerprint,
    storage: str,
    made_with: dict[str, str],
) -> None:
    described = _described(clips, texts)
    by_clip: dict[str, tuple[tuple[int, ...], np.dtype[Any], Any]] = {
        "heads": (heads_shape, np.dtype(storage), None),
        "status": ((), np.dtype(np.uint8), PENDING),
        "reason": ((), h5py.string_dtype("utf-8", REASON_BYTES), b""),
        "seconds": ((), np.dtype(np.float32), np.nan),
        "peak": ((), np.dtype(np.float32), np.nan),
    }
    row_bytes = sum(math.prod(shape) * dtype.itemsize for shape, dtype, _ in by_clip.values())
    # HDF5 does not survive a disk that fills up while it closes a file, so room is found before it writes.
    part.touch()
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
            model=request.model,
            revision=made_with.get("revision", ""),
            request=json.dumps(asdict(request)),
            made_with=json.dumps(made_with),
        )
    _reserve(part, path, part.stat().st_size)


def _described(clips: Sequence[Clip], texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Lay out what is known of the clips before the first forward pass."""
    columns = {c: _encoded([getattr(clip, c) or "" for clip in clips]) for c in ("name", "label", "split", "group")}
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    which = np.asarray([place[text] for text in texts], dtype=np.int32)
    return columns | {"prompts": _encoded(list(place)), "prompt": which}


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


def _reserve(part: Path, path: Path, size: int) -> None:
    """Take blocks of the disk for a file now, so that a full disk is told before the first forward pass."""
    with part.open("r+b") as file:
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
