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

Attributes: ``format``, ``format_version``, ``model``, ``revision`` (a hub checkpoint's commit), one for each field of
:class:`Fingerprint`, ``request`` (JSON of :class:`Request`), and ``made_with`` (versions and checkpoint, as JSON).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.file import open_cache_file
from calm.extract.fingerprint import Extraction, Fingerprint
from calm.extract.request import Request

PENDING, DONE, FAILED = 0, 1, 2


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
    prompts : array of str (prompts,)
        The distinct texts that the model was asked beside the clips.
    prompt_of : array of int (clips,)
        Which of them each clip was asked with.
    status : array of uint8 (clips,)
        0 pending, 1 done, 2 failed.
    seconds, peak : arrays of float32 (clips,)
    request : Request
    fingerprint : Fingerprint
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self._open()
        try:
            self._read_description()
        except (KeyError, TypeError) as error:
            self._file.close()
            raise ValueError(f"{self.path} is damaged: {error}") from error

    def _open(self) -> h5py.File:
        # Readers need no lock: metadata never changes, and a row counts only once its status says so.
        return open_cache_file(self.path, "r", locking=False)

    def _read_description(self) -> None:
        file = self._file
        self.shape: tuple[int, int, int, int] = file["heads"].shape
        self.storage = str(file["heads"].dtype)
        self.names, self.labels, self.splits, self.groups = (
            _texts(file[column]).astype(str) for column in ("name", "label", "split", "group")
        )
        self.prompts, self.prompt_of = _texts(file["prompts"]), file["prompt"][:]
        self.status: NDArray[np.uint8] = file["status"][:]
        self.seconds: NDArray[np.float32] = file["seconds"][:]
        self.peak: NDArray[np.float32] = file["peak"][:]
        self.request = Request.from_json(file.attrs["request"])
        self.fingerprint = Fingerprint(**_attributes(file))
        self.made_with: dict[str, str] = json.loads(file.attrs["made_with"])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        clips, layers, heads, dim = self.shape
        return f"HeadCache({str(self.path)!r}: {clips} clips × {layers} layers × {heads} heads × {dim})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)  # another process opens the file for itself

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

    @property
    def texts(self) -> NDArray[Any]:
        """What the model was asked beside each clip, (clips,)."""
        return self.prompts[self.prompt_of]

    def __getitem__(self, rows: Any) -> HeadRows:
        """Select clips, by index, mask or slice; nothing is read yet."""
        return HeadRows(self, np.atleast_1d(np.arange(len(self))[rows]))

    def read(self, rows: NDArray[np.integer], heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read the head vectors of chosen clips.

        Parameters
        ----------
        rows : array of int (n,)
            In any order, from the end where negative; clips that are done.
        heads : slice
            Only these of the ``layers · heads``, without a step; the layers that they are in are read.

        Returns
        -------
        array of float32 (n, heads, dim)

        Raises
        ------
        IndexError
            If there is no such row.
        ValueError
            If a clip has no head vectors, the file is closed, or it is damaged.
        """
        rows = np.atleast_1d(np.arange(len(self))[rows])
        without = rows[self.status[rows] != DONE]
        if len(without):
            raise ValueError(
                f"{len(without)} of these clips have no head vectors, {str(self.names[without[0]])!r} first: "
                f"choose among cache.done"
            )
        if not self._file:
            raise ValueError(f"{self.path} has been closed")
        _, layers, per_layer, dim = self.shape
        first, stop, _ = heads.indices(layers * per_layer)
        low, high = first // per_layer, -(-stop // per_layer)
        stored = np.empty((len(rows), high - low, per_layer, dim), dtype=self.storage)
        for run in _runs(rows):
            there = slice(int(rows[run.start]), int(rows[run.start]) + run.stop - run.start)
            self._file["heads"].read_direct(stored, np.s_[there, low:high], np.s_[run])
        joined = stored.reshape(len(rows), (high - low) * per_layer, dim)
        vectors = joined[:, first - low * per_layer : stop - low * per_layer].astype(np.float32)
        if not np.isfinite(vectors).all():  # none was ever written
            raise ValueError(f"{self.path} is damaged: it holds head vectors of NaN or infinity")
        return vectors


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

    def __repr__(self) -> str:
        return f"HeadRows({len(self)} of {self.cache!r})"

    def __getitem__(self, chosen: Any) -> HeadRows:
        return HeadRows(self.cache, np.atleast_1d(self.rows[chosen]))

    @property
    def names(self) -> NDArray[Any]:
        """Name of each chosen clip."""
        return self.cache.names[self.rows]

    @property
    def labels(self) -> NDArray[Any]:
        """Label of each chosen clip."""
        return self.cache.labels[self.rows]

    @property
    def groups(self) -> NDArray[Any]:
        """Group of each chosen clip; empty where it has none."""
        return self.cache.groups[self.rows]

    @property
    def extraction(self) -> Extraction:
        """How these head vectors were made."""
        cache, prompts = self.cache, np.unique(self.cache.prompt_of[self.rows])
        commit = cache.made_with.get("revision") or cache.request.revision
        return Extraction(
            request=cache.request.changed(revision=commit, dtype=cache.fingerprint.dtype),
            fingerprint=cache.fingerprint,
            text=str(cache.prompts[prompts[0]]) if len(prompts) == 1 else None,
        )

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read some of the heads of some of the clips, ``(clips, heads, dim)``."""
        return self.cache.read(self.rows[clips], heads)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.cache.read(self.rows).astype(dtype or np.float32, copy=False)


def _runs(rows: NDArray[np.integer]) -> Iterator[slice]:
    """Split a choice of rows where they stop being neighbours, so that each run is read in one piece."""
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    for start, stop in itertools.pairwise([*starts.tolist(), len(rows)]):
        yield slice(start, stop)


def _texts(dataset: h5py.Dataset) -> NDArray[Any]:
    return np.asarray([value.decode() for value in dataset[:]], dtype=object)


def _attributes(file: h5py.File) -> dict[str, Any]:
    """Read the fields of a fingerprint; a field that came later may be missing, and has its default."""
    known = {f.name: file.attrs.get(f.name, f.default) for f in fields(Fingerprint)}
    missing = [name for name, value in known.items() if value is MISSING]
    if missing:
        raise KeyError(missing[0])
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in known.items()}
