"""Reading a head cache; :mod:`calm.extract.cache.layout` describes the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from calm.extract.cache.attributes import read_fingerprint, read_made_with, read_request, version_of
from calm.extract.cache.file import close_on_error, damage_as_value_error, open_cache_file
from calm.extract.cache.layout import DONE, FAILED, TABLES, DamagedFileError
from calm.extract.cache.rows import HeadRows
from calm.extract.cache.selection import blocks, choose, runs
from calm.extract.failures import failures_by_name
from calm.extract.media.content import UNKNOWN, Content

#: Clips whose texts are read at a time.
_BLOCK = 2**16


@dataclass(frozen=True)
class Categorical:
    """A column of few distinct texts."""

    codes: NDArray[np.int32]  #: which text each clip has, (clips,)
    texts: NDArray[Any]  #: the distinct texts, as str

    @property
    def values(self) -> NDArray[Any]:
        """The text of each clip, (clips,)."""
        return self.texts[self.codes]


def _open_again(kind: type[HeadCache], path: Path, identity: str) -> HeadCache:
    """Open a cache that was pickled, of which rows may have been too."""
    with close_on_error(kind(path)) as cache:
        if cache.identity != identity:
            raise ValueError(f"{path} is not of the clips that it was of when it was pickled: open it anew")
    return cache


class HeadCache:
    """Read a head cache; also while another process is still writing it.

    Opening reads which clips are done, and what is read of those stays true: where a clip has changed, another file
    takes this one's place, and this one is read on. All else is read when asked for: head vectors and names each time,
    columns of few distinct texts and numbers once.

    Pickled, while it is open, it is its path and what tells its clips: whoever unpickles it opens the file, and gets a
    ValueError if that is of other clips by then, or of the same in another order.

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
    storage : str
        "float16" or "float32".
    status : array of uint8 (clips,)
        0 pending, 1 done, 2 failed.
    request : Request
    fingerprint : Fingerprint
    made_with : dict of str
        Versions of the software and of the checkpoint.

    Examples
    --------
    >>> with HeadCache("heads.h5") as cache:  # doctest: +SKIP
    ...     rows = cache[cache.labels == "dog"]
    ...     rows.shape, np.asarray(rows).dtype
    ((40, 32, 32, 128), dtype('float32'))
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._absolute = self.path.absolute()  # wherever this process goes
        self._categorical: dict[str, Categorical] = {}
        self._kept: dict[str, NDArray[Any]] = {}
        self._file = self._open()
        with close_on_error(self._file), damage_as_value_error(self.path):
            self._read_description()

    def _open(self) -> h5py.File:
        # Readers need no lock: metadata never changes, a row counts only once its status says that it is done, and from
        # then on it never changes either.
        return open_cache_file(self.path, "r", locking=False)

    def _read_description(self) -> None:
        file = self._file
        self.version = version_of(file)
        self.shape: tuple[int, int, int, int] = file["heads"].shape
        self.storage = str(file["heads"].dtype)
        self.status: NDArray[np.uint8] = file["status"][:]
        if self.status.max(initial=0) > FAILED:
            raise DamagedFileError(f"a clip's status is {self.status.max()}")
        self.request = read_request(file)
        self.fingerprint = read_fingerprint(file, self.shape[1])
        self.made_with = read_made_with(file)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        clips, layers, heads, dim = self.shape
        return f"HeadCache({str(self.path)!r}: {clips} clips × {layers} layers × {heads} heads × {dim})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (type(self), self._absolute, self.identity)  # another process opens the file for itself

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file.

        Labels, splits, groups, texts, lengths and peaks can be read further on: they are read now, unless they were.
        Head vectors, names, digests and reasons cannot.
        """
        try:
            if self._file:
                self._keep()
        finally:
            self._file.close()

    def _keep(self) -> None:
        """Read what describes clips in little room; of texts the bytes, which become str when somebody asks."""
        # What the disk does not give any more is told to whoever asks for it; closing is no time to fail.
        with contextlib.suppress(OSError, ValueError):
            _ = self.seconds, self.peak
            for column, table in TABLES.items():
                if column not in self._categorical:
                    kept = [name for name in (column, table) if name in self._file]  # version 1 has few tables
                    self._kept.update((name, self._column(name)) for name in kept)

    @property
    def names(self) -> NDArray[Any]:
        """Path of each clip below the data's root, as str (clips,)."""
        return self._texts("name")

    @property
    def labels(self) -> NDArray[Any]:
        """Label of each clip, as str (clips,); empty where it has none."""
        return self.categorical("label").values

    @property
    def splits(self) -> NDArray[Any]:
        """Split of each clip, as str (clips,); empty where it has none."""
        return self.categorical("split").values

    @property
    def groups(self) -> NDArray[Any]:
        """Group of each clip, as str (clips,); empty where it has none."""
        return self.categorical("group").values

    @property
    def texts(self) -> NDArray[Any]:
        """What the model was asked beside each clip, as str (clips,)."""
        return self.categorical("prompt").values

    @property
    def prompts(self) -> NDArray[Any]:
        """The distinct texts that the model was asked beside the clips, as str (prompts,)."""
        return self.categorical("prompt").texts

    @property
    def prompt_codes(self) -> NDArray[np.int32]:
        """Which of them each clip was asked with, (clips,)."""
        return self.categorical("prompt").codes

    @cached_property
    def seconds(self) -> NDArray[np.float32]:
        """Length of each recording, (clips,); NaN until known."""
        return self._column("seconds")

    @cached_property
    def peak(self) -> NDArray[np.float32]:
        """Largest absolute sample of each clip, (clips,); NaN until known."""
        return self._column("peak")

    @cached_property
    def first_duplicate(self) -> NDArray[np.int64]:
        """The first clip of the same content as each, (clips,): itself, where no other is or that is not known."""
        first = np.arange(len(self))
        if self.version < 2:
            return first
        halves = self._column("digest").view(np.uint64)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: the first clip comes first
        order = order[halves[order].any(axis=1)]
        if len(order):
            new = np.r_[True, (np.diff(halves[order], axis=0) != 0).any(axis=1)]
            first[order] = order[new][np.cumsum(new) - 1]
        return first

    @cached_property
    def identity(self) -> str:
        """Digest that tells the clips of this cache, in their order, what they were asked, and by what model.

        It stays as rows are filled, and in a copy; whatever moves rows or makes them of something else changes it.
        """
        told = xxhash.xxh3_128(f"{self.shape} {self.fingerprint}".encode())
        for start in range(0, len(self), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(self)))
            for column in ("name", "prompt"):
                told.update(self._column(column, rows).tobytes())
        told.update(self._column("prompts").tobytes())
        return told.hexdigest()

    @property
    def done(self) -> NDArray[np.int64]:
        """Indices of the clips whose head vectors are there, ascending."""
        return np.flatnonzero(self.status == DONE)

    @property
    def failures(self) -> dict[str, str]:
        """Why each failed clip failed, as :func:`calm.extract.failures.failures_by_name` tells it."""
        failed = np.flatnonzero(self.status == FAILED)
        asked = self.categorical("prompt")
        texts, reasons = asked.texts[asked.codes[failed]], self._texts("reason", failed)
        return failures_by_name(zip(failed.tolist(), self.names_of(failed), texts, reasons, strict=True))

    def names_of(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read the names of some clips, as str (n,)."""
        return self._texts("name", rows)

    def categorical(self, column: str) -> Categorical:
        """Return a column of few distinct texts as numbers and a table of them.

        Parameters
        ----------
        column : {"label", "split", "group", "prompt"}

        Raises
        ------
        ValueError
            If the column is damaged, or could not be read when the file was closed.
        """
        if column not in self._categorical:
            self._categorical[column] = self._read_categorical(column)
        return self._categorical[column]

    def _read_categorical(self, column: str) -> Categorical:
        if self.version < 2 and column != "prompt":
            return self._code_texts(column)
        texts, codes = self._texts(TABLES[column]), self._column(column)
        with damage_as_value_error(self.path):
            if len(set(texts.tolist())) < len(texts):
                raise DamagedFileError(f"a text is twice in {TABLES[column]}")
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(texts):
                raise DamagedFileError(f"{column} points beyond the {len(texts)} {TABLES[column]}")
        return Categorical(codes, texts)

    def _code_texts(self, column: str) -> Categorical:
        """Make a table of the texts of a column that has none, as in version 1."""
        place: dict[str, int] = {}
        codes = np.empty(len(self), dtype=np.int32)
        for start in range(0, len(self), _BLOCK):
            texts = self._texts(column, np.arange(start, min(start + _BLOCK, len(self))))
            codes[start : start + len(texts)] = [place.setdefault(text, len(place)) for text in texts]
        return Categorical(codes, np.array(list(place), dtype=object))

    def contents(self, rows: Any = slice(None)) -> Iterator[Content]:
        """Tell what some clips were, by digest, size and time, as far as that is known."""
        wanted = np.asarray(choose(range(len(self)), rows))
        if self.version < 2:
            yield from (UNKNOWN for _ in wanted)
            return
        for start in range(0, len(wanted), _BLOCK):
            part = wanted[start : start + _BLOCK]
            digests, sizes, times = (self._column(name, part) for name in ("digest", "size", "modified"))
            for digest, size, modified in zip(digests, sizes.tolist(), times.tolist(), strict=True):
                yield Content(digest.tobytes(), size, modified) if digest.any() else UNKNOWN

    def _stored(self, name: str) -> Any:
        """Return a column as it lies in the file, or as it was kept when that was closed."""
        if self._file:
            return self._file[name]
        if name not in self._kept:
            raise ValueError(f"{self.path} has been closed")
        return self._kept[name]

    def _column(self, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Read a column, or some rows of it."""
        dataset = self._stored(name)
        with damage_as_value_error(self.path):
            if rows is None:
                return np.asarray(dataset[:])
            read = np.empty((len(rows), *dataset.shape[1:]), dtype=dataset.dtype)
            for there, which in blocks(rows, _BLOCK):
                read[which] = dataset[there][rows[which] - there.start]
            return read

    def _texts(self, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Read a column of text, or some rows of it, as str."""
        if rows is None:
            rows = np.arange(len(self._stored(name)))
        texts = np.empty(len(rows), dtype=object)
        for start in range(0, len(rows), _BLOCK):
            read = self._column(name, rows[start : start + _BLOCK]).tolist()
            with damage_as_value_error(self.path):
                texts[start : start + len(read)] = [text.decode() for text in read]
        return texts

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of what is read, whatever the storage."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: Any) -> HeadRows:
        """Select clips, by index, mask or slice; nothing is read yet."""
        return HeadRows(self, choose(range(len(self)), rows))

    def __iter__(self) -> Iterator[HeadRows]:
        return iter(self[:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].__array__(dtype, copy)

    def read(self, rows: Any, heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read the head vectors of chosen clips.

        Parameters
        ----------
        rows : array of int (n,), mask or slice
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
        rows = np.asarray(choose(range(len(self)), rows))
        without = rows[self.status[rows] != DONE]
        if len(without):
            raise ValueError(
                f"{len(without)} of these clips have no head vectors, {self.names_of(without[:1])[0]!r} first: "
                f"choose among cache.done"
            )
        _, layers, per_layer, dim = self.shape
        first, stop, _ = heads.indices(layers * per_layer)
        low, high = first // per_layer, -(-stop // per_layer)
        joined = self._vectors(rows, low, high).reshape(len(rows), (high - low) * per_layer, dim)
        vectors = joined[:, first - low * per_layer : stop - low * per_layer].astype(np.float32)
        if not np.isfinite(vectors).all():  # none was ever written
            raise ValueError(f"{self.path} is damaged: it holds head vectors of NaN or infinity")
        return vectors

    def _vectors(self, rows: NDArray[np.int64], low: int = 0, high: int | None = None) -> NDArray[np.floating]:
        """Read head vectors of some layers as they are stored, (n, layers, heads, dim)."""
        dataset = self._stored("heads")
        _, layers, per_layer, dim = self.shape
        high = layers if high is None else high
        stored = np.empty((len(rows), high - low, per_layer, dim), dtype=self.storage)
        with damage_as_value_error(self.path):
            for run in runs(rows):
                there = slice(int(rows[run.start]), int(rows[run.start]) + run.stop - run.start)
                dataset.read_direct(stored, np.s_[there, low:high], np.s_[run])
        return stored
