"""Create a head cache at its full size, and extend it to a new list of clips."""

from __future__ import annotations

import errno
import math
import os
import stat
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
from calm.extract.cache.file import close_on_error, is_empty_file
from calm.extract.cache.layout import DIGEST_BYTES, LONGEST, REASON_BYTES, TABLES
from calm.extract.cache.writer import CacheWriter
from calm.extract.fingerprint import Fingerprint
from calm.extract.media.clip import Clip
from calm.extract.media.file import check_regular
from calm.extract.request import Request

_HDF5_BYTES = 2**16  # more than the metadata of the HDF5 file takes
_BLOCK = 2**16  # rows written at a time
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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
    """Create a head cache for a list of clips, all of them pending.

    The file is allocated at its full size, so that a full disk is reported before the first forward pass. It appears
    under its name only when it is complete.

    Parameters
    ----------
    path : path
        Where to create the HDF5 file. It must not exist yet, or be empty.
    clips : sequence of Clip of length n_clips
        The clips, one per row. Their names, labels, splits and groups are stored.
    texts : sequence of str of length n_clips
        The prompt text of each clip.
    heads_shape : tuple of int
        Shape ``(n_layers, n_heads, head_dim)`` of the head vectors of one clip.
    request : Request
        The model, prompt and media options of the extraction.
    fingerprint : Fingerprint
        All that changes a head vector, from :func:`compute_fingerprint`.
    storage : {"float16", "float32"}, default="float16"
        The dtype of the stored head vectors.
    made_with : dict of str, default=None
        Versions of the software and of the checkpoint, stored for the record.

    Raises
    ------
    FileExistsError
        If the file exists and is not empty.
    ValueError
        If a text of a clip contains a NUL character, or is longer than ``calm.extract.cache.layout.LONGEST`` allows.
    OSError
        If the file cannot be written, the path is not a regular file, or the disk has too little space.

    See Also
    --------
    calm.extract.extract_to_cache : Create or resume a cache, and fill it.
    calm.extract.CacheWriter : Fill a cache.
    calm.extract.HeadCache : Read a cache.

    Examples
    --------
    >>> import tempfile
    >>> from calm.extract import Clip, Fingerprint, HeadCache, Request, create_cache
    >>> clips = [Clip("1.wav", "dog/1.wav", "dog"), Clip("2.wav", "rain/2.wav", "rain")]
    >>> fingerprint = Fingerprint("weights", "processor", "float32", "What?", 1, 16000, 30.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/heads.h5"
    ...     create_cache(path, clips, ["What?"] * 2, (4, 8, 16), Request("tiny"), fingerprint)
    ...     with HeadCache(path) as cache:
    ...         cache.shape, cache.labels.tolist(), cache.done.tolist()
    ((2, 4, 8, 16), ['dog', 'rain'], [])
    """
    path = Path(path)
    if is_empty_file(path):
        path = path.resolve()  # replace the target of a link, not the link
    if path.exists():
        check_regular(path, path.stat().st_mode)
    with create_atomic_file(path) as part:
        _allocate(part, path, clips, texts, heads_shape, request, fingerprint, storage, made_with or {})
        try:
            part.check()
            if is_empty_file(path):
                part.path.chmod(stat.S_IMODE(path.stat().st_mode))  # mktemp creates files that others cannot read
                path.unlink()
            _rename_if_absent(part.path, path)
        except FileNotFoundError:  # another process removed our temporary file as a stale one
            raise BlockingIOError(f"{path} is being created by another process: try again later") from None


def extend_cache(
    old: CacheWriter, clips: Sequence[Clip], texts: Sequence[str], *, without: Sequence[int] | NDArray[np.int64] = ()
) -> CacheWriter:
    """Rebuild a cache for a new list of clips, and copy the rows that it already has.

    Use it when clips were added, removed, reordered or relabeled. Rows are matched by clip name and prompt text. The
    new file replaces the old one only when it is complete: if the process is killed, the old file stays as it was.
    Readers that have the old file open can continue to read it. Both files take up disk space until then.

    Parameters
    ----------
    old : CacheWriter
        The cache to extend. It is closed.
    clips : sequence of Clip of length n_clips
        The new list of clips.
    texts : sequence of str of length n_clips
        The prompt text of each clip.
    without : sequence of int, default=()
        Rows of ``old`` that are not copied, because their clips changed. These clips become pending.

    Returns
    -------
    CacheWriter
        The new cache, open and locked, at the path of the old one.

    Raises
    ------
    OSError
        If the disk has too little space for both files.

    See Also
    --------
    calm.extract.extract_to_cache : Create or resume a cache, and fill it.
    calm.extract.create_cache : Create a cache with all clips pending.

    Examples
    --------
    >>> import tempfile
    >>> from calm.extract import CacheWriter, Clip, Fingerprint, Request, create_cache, extend_cache
    >>> clips = [Clip("1.wav", "dog/1.wav", "dog"), Clip("2.wav", "rain/2.wav", "rain")]
    >>> fingerprint = Fingerprint("weights", "processor", "float32", "What?", 1, 16000, 30.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/heads.h5"
    ...     create_cache(path, clips[:1], ["What?"], (4, 8, 16), Request("tiny"), fingerprint)
    ...     with CacheWriter(path) as old, extend_cache(old, clips, ["What?"] * 2) as new:
    ...         new.names.tolist()
    ['dog/1.wav', 'rain/2.wav']
    """
    path = old.path.resolve()  # replace the target of a link, not the link
    excluded = set(map(int, without))
    row_of = {key: row for row, key in enumerate(clip_keys(old.names, old.texts)) if row not in excluded}
    keys = clip_keys((clip.name for clip in clips), texts)
    old_rows = np.fromiter((row_of.get(key, -1) for key in keys), np.int64)  # -1: not in the old cache
    with create_atomic_file(path) as part:
        _allocate(
            part, path, clips, texts, old.shape[1:], old.request, old.fingerprint, old.storage, old.made_with
        )  # fmt: skip
        with close_on_error(CacheWriter(part.path)) as new:
            part.check()
            new.copy_rows_from(old, np.flatnonzero(old_rows >= 0), old_rows[old_rows >= 0])
            part.replace(path)  # the lock stays with the file
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
    """Write an empty cache of full size into a temporary file."""
    datasets = _plan_datasets(clips, texts, heads_shape, storage)
    # HDF5 crashes if the disk fills up while it closes a file, so reserve the space before it writes.
    _reserve_space(part.file, path, _HDF5_BYTES + sum(dataset.nbytes for dataset in datasets.values()))
    part.file.truncate(0)  # HDF5 needs an empty file
    with h5py.File(part.file, "w") as file:  # by descriptor: the path may lead elsewhere by now
        for name, dataset in datasets.items():
            _preallocate(file, name, dataset)
            dataset.write_to(file[name])
        write_attributes(file, request, fingerprint, made_with)
    part.file.flush()
    _reserve_space(part.file, path, os.fstat(part.file.fileno()).st_size)


@dataclass(frozen=True)
class _Dataset:
    """A dataset to create."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    content: Callable[[slice], Any] | None = None  #: makes the content of given rows; None means zeros

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def write_to(self, file: h5py.Dataset) -> None:
        if self.content is None:
            return
        for start in range(0, self.shape[0], _BLOCK):
            block = slice(start, min(start + _BLOCK, self.shape[0]))
            file[block] = self.content(block)


def _plan_datasets(
    clips: Sequence[Clip], texts: Sequence[str], heads_shape: tuple[int, int, int], storage: str
) -> dict[str, _Dataset]:
    """Define all datasets of a cache, with the metadata of the clips as content."""
    n = len(clips)
    datasets = {
        "heads": _Dataset((n, *heads_shape), np.dtype(storage)),
        "status": _Dataset((n,), np.dtype(np.uint8)),  # PENDING
        "reason": _Dataset((n,), h5py.string_dtype("utf-8", REASON_BYTES)),
        "seconds": _Dataset((n,), np.dtype(np.float32), lambda _: np.nan),
        "decoded_seconds": _Dataset((n,), np.dtype(np.float32), lambda _: np.nan),
        "peak": _Dataset((n,), np.dtype(np.float32), lambda _: np.nan),
        "digest": _Dataset((n, DIGEST_BYTES), np.dtype(np.uint8)),
        "size": _Dataset((n,), np.dtype(np.int64)),
        "modified": _Dataset((n,), np.dtype(np.int64)),
        "name": _plan_texts("name", clips, lambda clip: clip.name, lambda clip: clip),
    }
    for column, table in TABLES.items():
        code_of: dict[str, int] = {}
        values = texts if column == "prompt" else (getattr(clip, column) or "" for clip in clips)
        codes = np.fromiter((code_of.setdefault(value, len(code_of)) for value in values), np.int32, n)
        datasets[column] = _Dataset((n,), codes.dtype, codes.__getitem__)
        # Each distinct text with the first clip that has it, to name a clip in messages.
        entries = zip(code_of, np.unique(codes, return_index=True)[1].tolist(), strict=True)
        datasets[table] = _plan_texts(column, list(entries), lambda entry: entry[0], lambda entry: clips[entry[1]])
    return datasets


def check_storable(clips: Sequence[Clip], texts: Sequence[str]) -> None:
    """Check that a cache can store the names, labels, splits, groups and prompt texts of clips.

    Raises
    ------
    ValueError
        If a text is too long or contains a NUL character; the message names the clip.
    """
    checked: set[tuple[str, str]] = set()
    for clip, prompt in zip(clips, texts, strict=True):
        columns = {"name": clip.name, "label": clip.label, "split": clip.split, "group": clip.group, "prompt": prompt}
        for column, text in columns.items():
            if text and (column, text) not in checked:
                _encode(column, text, clip)
                if column != "name":
                    checked.add((column, text))


def _encode(column: str, text: str, clip: Clip) -> bytes:
    """Encode a text of a clip, and check that a cache can store it."""
    encoded, max_bytes = text.encode(), LONGEST[column]
    owner = f"the {column} of {clip.name[:60]!r}"
    if len(encoded) > max_bytes:
        raise ValueError(f"{owner} takes {len(encoded)} bytes, but a cache stores at most {max_bytes}: shorten it")
    if "\0" in text:  # NUL is the padding of stored text
        raise ValueError(f"{owner} contains a NUL character, which a cache cannot store: remove it")
    return encoded


def _plan_texts(column: str, items: Sequence[T], text_of: Callable[[T], str], clip_of: Callable[[T], Clip]) -> _Dataset:
    """Define a text column or table as wide as its longest text; the texts are encoded block by block."""

    def encode(item: T) -> bytes:
        return _encode(column, text_of(item), clip_of(item))

    width = max((len(encode(item)) for item in items), default=0)
    dtype = h5py.string_dtype("utf-8", max(1, width))
    return _Dataset((len(items),), dtype, lambda rows: np.array([encode(item) for item in items[rows]], dtype))


def _preallocate(file: h5py.File, name: str, dataset: _Dataset) -> None:
    """Create a contiguous dataset whose space in the file is allocated now; unwritten parts read as zeros."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    dtype, space = h5py.h5t.py_create(dataset.dtype, logical=True), h5py.h5s.create_simple(dataset.shape)
    h5py.h5d.create(file.id, name.encode(), dtype, space, creation)


def _reserve_space(file: BinaryIO, path: Path, size: int) -> None:
    """Reserve disk blocks for a file now, so that a full disk is reported before the first forward pass."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise OSError(
                f"not enough disk space for {path}, which needs {size / 1e6:.1f} MB: {error.strerror}"
            ) from error
        # This file system cannot reserve blocks: a full disk is reported by a later write.


def _rename_if_absent(part: Path, path: Path) -> None:
    """Give a finished file its name, but never replace a file that another process has created meanwhile."""
    try:
        os.link(part, path)
    except FileNotFoundError:
        raise
    except FileExistsError:
        raise FileExistsError(f"{path} was just created by another process: run this again") from None
    except OSError:  # this file system has no hard links
        if path.exists():
            raise FileExistsError(f"{path} was just created by another process: run this again") from None
        part.rename(path)
