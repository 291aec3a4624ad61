"""The head cache: one HDF5 file, self-describing, safe to kill, cheap to resume.

Layout
------
Every dataset is allocated at its full size, contiguous, before the first forward pass, and the file is moved into
place only when that is done; from then on the file's metadata never changes, so a process killed at any moment cannot
damage it. A clip's ``status`` is written after its row has reached the disk.

=========  =======================  ==========================================================
dataset    shape, type              what
=========  =======================  ==========================================================
heads      (clip, layer, head,      head vectors
           dim) float16 or float32
status     (clip,) uint8            0 pending, 1 done, 2 failed
reason     (clip,) text             why a clip failed
seconds    (clip,) float32          length of the recording; NaN until known
peak       (clip,) float32          largest absolute sample; NaN until known
name       (clip,) text             path below the data's root
label      (clip,) text             empty where there is none; likewise split and group
split
group
prompt     (clip,) int32            row of ``prompts``
prompts    (prompt,) text           the distinct texts that clips were asked
=========  =======================  ==========================================================

Attributes: ``format``, ``format_version``, ``request`` (JSON of :class:`Request`), one attribute for each field of
:class:`Fingerprint`, and ``made_with`` (versions, as JSON).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract.clips import Clip
from calm.extract.prompt import Prompt

FORMAT = "calm head cache"
FORMAT_VERSION = 1
PENDING, DONE, FAILED = 0, 1, 2
_REASON_BYTES = 300


@dataclass(frozen=True)
class Request:
    """What was asked for: all that is needed to extract further clips in the same way."""

    model: str  #: alias, hub id or local folder
    revision: str | None = None  #: branch, tag or commit of a hub checkpoint
    dtype: str | None = None  #: of the computation; None takes float32 on a CPU, the checkpoint's own elsewhere
    template: str = Prompt.template  #: with {question} and {options}
    question: str = Prompt.question  #: for clips without one of their own
    tokens: int = 1  #: 1 is the last token of the prompt, m the mean over the last m
    max_seconds: float | None = None  #: clips are cut there; None takes the model's window

    @property
    def prompt(self) -> Prompt:
        """Template and question together."""
        return Prompt(self.template, self.question)


@dataclass(frozen=True)
class Fingerprint:
    """All that changes a head vector, as found out when the model was loaded.

    Vectors of different fingerprints must not be mixed: not in one cache, nor in fitting and predicting.
    """

    weights: str  #: digest of the model's weights
    dtype: str  #: of the computation
    prompt: str  #: rendered, with the model's chat template
    tokens: int  #: how many last tokens are averaged
    sampling_rate: int  #: Hz
    max_seconds: float  #: clips were cut there; infinity for no limit

    def check_same(self, other: Fingerprint, mine: str, theirs: str) -> None:
        """Refuse another fingerprint.

        Raises
        ------
        ValueError
            Naming what differs, where each side is called ``mine`` and ``theirs``.
        """
        differences = [
            f"{f.name} ({getattr(self, f.name)!r} in {mine}, {getattr(other, f.name)!r} in {theirs})"
            for f in fields(self)
            if getattr(self, f.name) != getattr(other, f.name)
        ]
        if differences:
            raise ValueError(
                f"head vectors of {mine} and {theirs} cannot be mixed: they differ in {'; '.join(differences)}"
            )


@dataclass(frozen=True)
class Extraction:
    """How the head vectors that a classifier was fitted on were made: enough to make more of them."""

    request: Request  #: with revision and dtype as they turned out
    fingerprint: Fingerprint
    text: str | None  #: what the model was asked beside every clip; None where that differed


class HeadCache:
    """Read a head cache; also while another process is still writing it.

    Only what describes the clips is held in memory: head vectors are read when asked for.

    Parameters
    ----------
    path : path

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a head cache, is damaged, or was written by a newer version.

    Attributes
    ----------
    shape : tuple of int
        ``(clips, layers, heads, dim)``.
    names, labels, splits, groups : arrays of str (clips,)
        Empty text where a clip has none.
    texts : array of str (clips,)
        What the model was asked beside each clip.
    status : array of uint8 (clips,)
        0 pending, 1 done, 2 failed.
    seconds, peak : arrays of float32 (clips,)
    request : Request
    fingerprint : Fingerprint
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # Readers need no lock: metadata never changes, and a row counts only once its status says so.
        self._file = _open(self.path, "r", locking=False)
        try:
            self._read_description()
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error

    def _read_description(self) -> None:
        file = self._file
        self.shape: tuple[int, int, int, int] = file["heads"].shape
        self.storage = str(file["heads"].dtype)
        self.names, self.labels, self.splits, self.groups = (
            _texts(file[column]) for column in ("name", "label", "split", "group")
        )
        self.texts = _texts(file["prompts"])[file["prompt"][:]]
        self.status = file["status"][:]
        self.seconds = file["seconds"][:]
        self.peak = file["peak"][:]
        self.request = Request(**json.loads(file.attrs["request"]))
        self.fingerprint = Fingerprint(**{f.name: _plain(file.attrs[f.name]) for f in fields(Fingerprint)})
        self.made_with: dict[str, str] = json.loads(file.attrs["made_with"])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        clips, layers, heads, dim = self.shape
        return f"HeadCache({str(self.path)!r}: {clips} clips × {layers} layers × {heads} heads × {dim})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the description stays readable."""
        self._file.close()

    @property
    def done(self) -> NDArray[np.int64]:
        """Indices of the clips whose head vectors are there, ascending."""
        return np.flatnonzero(self.status == DONE)

    @property
    def failures(self) -> dict[str, str]:
        """Why each failed clip failed, by name."""
        failed = np.flatnonzero(self.status == FAILED)
        reasons = _texts(self._file["reason"])
        return {str(self.names[i]): str(reasons[i]) for i in failed}

    def __getitem__(self, rows: Any) -> HeadRows:
        """Select clips, by index, mask or slice; nothing is read yet."""
        return HeadRows(self, np.arange(len(self))[rows])

    def read(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Read the head vectors of chosen clips.

        Parameters
        ----------
        rows : array of int (n,)
            In any order; clips that are done.

        Returns
        -------
        array of float32 (n, layers · heads, dim)

        Raises
        ------
        ValueError
            If a clip has no head vectors, or the file is closed.
        """
        rows = np.asarray(rows, dtype=np.int64)
        without = rows[self.status[rows] != DONE]
        if len(without):
            raise ValueError(f"{len(without)} of these clips have no head vectors, {self.names[without[0]]!r} first")
        if not self._file:
            raise ValueError(f"{self.path} has been closed")
        _, layers, heads, dim = self.shape
        stored = np.empty((len(rows), layers, heads, dim), dtype=self.storage)
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)  # runs of neighbours are read in one piece
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            first = rows[start]
            self._file["heads"].read_direct(stored, np.s_[first : first + stop - start], np.s_[start:stop])
        return stored.reshape(len(rows), layers * heads, dim).astype(np.float32)


class HeadRows:
    """A choice of a cache's clips, read block by block when it is iterated.

    Parameters
    ----------
    cache : HeadCache
    rows : array of int (n,)
    """

    def __init__(self, cache: HeadCache, rows: NDArray[np.integer]) -> None:
        self.cache = cache
        self.rows = np.asarray(rows, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(clips, layers · heads, dim)``."""
        _, layers, heads, dim = self.cache.shape
        return len(self.rows), layers * heads, dim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of what is read, whatever the cache's storage."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: Any) -> HeadRows:
        return HeadRows(self.cache, self.rows[chosen])

    @property
    def names(self) -> NDArray[Any]:
        """Name of each chosen clip."""
        return self.cache.names[self.rows]

    @property
    def labels(self) -> NDArray[Any]:
        """Label of each chosen clip."""
        return self.cache.labels[self.rows]

    @property
    def extraction(self) -> Extraction:
        """How these head vectors were made."""
        cache, texts = self.cache, set(self.cache.texts[self.rows].tolist())
        commit = cache.made_with.get("revision") or cache.request.revision
        return Extraction(
            request=replace(cache.request, revision=commit, dtype=cache.fingerprint.dtype),
            fingerprint=cache.fingerprint,
            text=texts.pop() if len(texts) == 1 else None,
        )

    def blocks(self, clips: int) -> Iterator[NDArray[np.float32]]:
        """Read at most ``clips`` clips at a time, each block ``(≤ clips, layers · heads, dim)``."""
        for start in range(0, len(self), clips):
            yield self.cache.read(self.rows[start : start + clips])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.cache.read(self.rows).astype(dtype or np.float32, copy=False)


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
            self._file = _open(self.path, "r+", locking="best-effort")
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
        """
        stored = vectors.astype(self._file["heads"].dtype)
        for row, vector, length, level in zip(rows, stored, seconds, peak, strict=True):
            self._file["heads"][row] = vector
            self._file["seconds"][row] = length
            self._file["peak"][row] = level
        self._acknowledge(rows, DONE)

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
    for stale in path.parent.glob(f".{path.name}.*.part"):
        stale.unlink()  # of a process that was killed while it allocated
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(part, "w") as file:
            _allocate(file, clips, texts, heads_shape, storage)
            file.attrs.update(asdict(fingerprint))
            file.attrs.update(
                format=FORMAT,
                format_version=FORMAT_VERSION,
                request=json.dumps(asdict(request)),
                made_with=json.dumps(made_with or {}),
            )
        _reserve(part)
        _move_unless_there(part, path)
    finally:
        part.unlink(missing_ok=True)


def _allocate(
    file: h5py.File, clips: Sequence[Clip], texts: Sequence[str], heads_shape: tuple[int, int, int], storage: str
) -> None:
    n = len(clips)
    _preallocated(file, "heads", (n, *heads_shape), np.dtype(storage))
    _preallocated(file, "status", (n,), np.dtype(np.uint8), fill=PENDING)
    _preallocated(file, "reason", (n,), h5py.string_dtype("utf-8", _REASON_BYTES), fill=b"")
    _preallocated(file, "seconds", (n,), np.dtype(np.float32), fill=np.nan)
    _preallocated(file, "peak", (n,), np.dtype(np.float32), fill=np.nan)
    for column in ("name", "label", "split", "group"):
        _write_texts(file, column, [getattr(clip, column) or "" for clip in clips])
    distinct, which = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
    _write_texts(file, "prompts", list(distinct))
    file["prompt"] = which.astype(np.int32)


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


def _write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    encoded = [text.encode() for text in texts]
    width = max(1, *map(len, encoded)) if encoded else 1
    file[name] = np.asarray(encoded, dtype=h5py.string_dtype("utf-8", width))


def _texts(dataset: h5py.Dataset) -> NDArray[Any]:
    return np.asarray([value.decode() for value in dataset[:]], dtype=object).astype(str)


def _fit_bytes(text: str, size: int) -> bytes:
    return text.encode()[:size].decode(errors="ignore").encode()  # never half a character


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _reserve(path: Path) -> None:
    """Take the file's blocks on the disk now, so that a full disk is told before the first forward pass."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        os.fsync(file.fileno())


def _move_unless_there(part: Path, path: Path) -> None:
    """Give a finished file its name, but never replace what another process has made meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(f"{path} exists already") from None
        part.rename(path)


def _open(path: Path, mode: str, locking: bool | str) -> h5py.File:
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        file = h5py.File(path, mode, locking=locking)
    except BlockingIOError:
        raise
    except PermissionError as error:
        raise PermissionError(f"no permission to {'read' if mode == 'r' else 'write'} {path}") from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{path} is a folder, not a head cache") from error
    except OSError as error:
        truncated = "truncated" in str(error)
        what = "is a truncated HDF5 file: copy or extract it again" if truncated else "is not a head cache"
        raise ValueError(f"{path} {what}") from error
    if file.attrs.get("format") != FORMAT:
        file.close()
        raise ValueError(f"{path} is an HDF5 file, but not a head cache")
    version = int(file.attrs["format_version"])
    if version > FORMAT_VERSION:
        file.close()
        raise ValueError(f"{path} has format version {version}; this calm reads up to {FORMAT_VERSION}: update calm")
    return file
