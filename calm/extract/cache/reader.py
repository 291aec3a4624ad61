"""Read a head cache; :mod:`calm.extract.cache.layout` describes the file format."""

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

from calm.extract.cache.attributes import read_fingerprint, read_made_with, read_request, read_version
from calm.extract.cache.export import Arrays
from calm.extract.cache.file import close_on_error, damage_as_value_error, open_cache_file
from calm.extract.cache.layout import DONE, FAILED, TABLES, DamagedFileError
from calm.extract.cache.rows import HeadRows
from calm.extract.cache.selection import find_runs, select_rows, split_into_blocks
from calm.extract.clip_notes import describe_clips
from calm.extract.failures import failures_by_name
from calm.extract.media.content import UNKNOWN, Content

#: Rows read at a time.
_BLOCK = 2**16


@dataclass(frozen=True)
class Categorical:
    """A column with few distinct texts, stored as codes and a table of texts."""

    codes: NDArray[np.int32]  #: index into ``texts`` for each clip, of shape (n_clips,)
    texts: NDArray[Any]  #: the distinct texts, as str

    @property
    def values(self) -> NDArray[Any]:
        """Text of each clip, of shape (n_clips,)."""
        return self.texts[self.codes]


def _open_again(cache_type: type[HeadCache], path: Path, identity: str) -> HeadCache:
    """Open the file of a pickled cache, and check that it still holds the same clips in the same order.

    Pickles refer to this function by name: do not rename it.
    """
    with close_on_error(cache_type(path)) as cache:
        if cache.identity != identity:
            raise ValueError(f"{path} has other clips than when it was pickled: open it again with HeadCache")
    return cache


class HeadCache:
    """Reader of a head cache, the HDF5 file that an extraction writes.

    A cache can be read while another process is still writing it. The status of the clips is read when the file is
    opened; head vectors of these clips never change afterwards. If clips change later, the extraction writes a new file
    in place of this one, and this reader continues to read the old one.

    Indexing a cache by index, list of indices, mask or slice gives :class:`HeadRows`, which classifiers accept as
    ``X``. Head vectors are read from the file each time they are needed. Labels, groups and other metadata are read
    once.

    A pickled cache consists of its path and a digest of its clips. Unpickling opens the file again, and raises a
    ValueError if the file now has other clips, or the same clips in another order. Pickle it while it is open.

    Parameters
    ----------
    path : path
        The HDF5 file.

    Attributes
    ----------
    shape : tuple of int
        ``(n_clips, n_layers, n_heads, head_dim)``.
    storage : {"float16", "float32"}
        The dtype of head vectors in the file. They are always read as float32.
    status : array of uint8 of shape (n_clips,)
        0 for pending, 1 for done, 2 for failed.
    request : Request
        The model, prompt and media options of the extraction.
    fingerprint : Fingerprint
        All that changes a head vector.
    made_with : dict of str
        Versions of the software and of the checkpoint.
    version : int
        Version of the file format.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a head cache, is damaged, or was written by a newer version of calm.

    See Also
    --------
    calm.extract.extract_to_cache : Create or resume a cache, and fill it.
    calm.extract.HeadRows : Selected clips of a cache.
    calm.compare : Compare few-shot methods on a cache.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from calm.extract import HeadCache, Request, extract_to_cache, find_clips
    >>> from calm.sounds import make_sounds
    >>> waves, labels = make_sounds(n_classes=2, n_per_class=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clips = find_clips(waves, labels, sampling_rate=16000)
    ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny"))
    ...     with HeadCache(report.path) as cache:
    ...         rows = cache[cache.labels == labels[0]]
    ...         len(cache), len(cache.done), rows.shape[0], np.asarray(rows).dtype
    (4, 4, 2, dtype('float32'))
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._absolute = self.path.absolute()  # stays valid when the working directory changes
        self._categorical: dict[str, Categorical] = {}
        self._loaded: dict[str, NDArray[Any]] = {}
        self._file = self._open()
        with close_on_error(self._file), damage_as_value_error(self.path):
            self._read_description()

    def _open(self) -> h5py.File:
        # Readers need no lock: the metadata of the file never changes, and neither does a row once its status is DONE.
        return open_cache_file(self.path, "r", locking=False)

    def _read_description(self) -> None:
        """Read the attributes, the shape and the status of the clips."""
        file = self._file
        self.version = read_version(file)
        self.shape: tuple[int, int, int, int] = file["heads"].shape
        self.storage = str(file["heads"].dtype)
        self.status: NDArray[np.uint8] = file["status"][:]
        if self.status.max(initial=0) > FAILED:
            raise DamagedFileError(f"invalid clip status {self.status.max()}")
        self.request = read_request(file)
        self.fingerprint = read_fingerprint(file, self.shape[1])
        self.made_with = read_made_with(file)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        clips, layers, heads, dim = self.shape
        return f"HeadCache({str(self.path)!r}: {clips} clips × {layers} layers × {heads} heads × {dim})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (type(self), self._absolute, self.identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file.

        Labels, splits, groups, prompt texts, lengths and peaks stay available: they are read now if they were not read
        before. Head vectors, names, digests and failure reasons are no longer available.
        """
        try:
            if self._file:
                self._load_small_columns()
        finally:
            self._file.close()

    def _load_small_columns(self) -> None:
        """Load the columns that stay available after closing; texts stay encoded until they are needed."""
        # A read error is reported when the column is used: closing a file should not fail.
        with contextlib.suppress(OSError, ValueError):
            _ = self.seconds, self.decoded_seconds, self.peak
            for column, table in TABLES.items():
                if column not in self._categorical:
                    names = [name for name in (column, table) if name in self._file]  # version 1 has few tables
                    self._loaded.update((name, self._read_column(name)) for name in names)

    @property
    def names(self) -> NDArray[Any]:
        """Name of each clip, as str of shape (n_clips,): its path relative to the root folder of the data."""
        return self._read_texts("name")

    @property
    def labels(self) -> NDArray[Any]:
        """Label of each clip, as str of shape (n_clips,); empty for a clip without a label."""
        return self.categorical("label").values

    @property
    def splits(self) -> NDArray[Any]:
        """Split of each clip, as str of shape (n_clips,); empty for a clip without a split."""
        return self.categorical("split").values

    @property
    def groups(self) -> NDArray[Any]:
        """Group of each clip, as str of shape (n_clips,); empty for a clip without a group."""
        return self.categorical("group").values

    @property
    def texts(self) -> NDArray[Any]:
        """Prompt text of each clip, as str of shape (n_clips,)."""
        return self.categorical("prompt").values

    @property
    def prompts(self) -> NDArray[Any]:
        """Distinct prompt texts, as str of shape (n_prompts,)."""
        return self.categorical("prompt").texts

    @property
    def prompt_codes(self) -> NDArray[np.int32]:
        """Index into ``prompts`` for each clip, of shape (n_clips,)."""
        return self.categorical("prompt").codes

    @cached_property
    def seconds(self) -> NDArray[np.float32]:
        """Length of each clip in seconds before it is cut, of shape (n_clips,); NaN until it is known."""
        return self._read_column("seconds")

    @cached_property
    def decoded_seconds(self) -> NDArray[np.float32]:
        """Length of each clip in seconds that could be decoded, up to shortly after the cut, of shape (n_clips,).

        NaN where it is unknown, and in caches of an earlier format.
        """
        if self.version < 3:
            return np.full(len(self), np.nan, dtype=np.float32)
        return self._read_column("decoded_seconds")

    @cached_property
    def peak(self) -> NDArray[np.float32]:
        """Largest absolute sample of each clip, of shape (n_clips,); NaN until it is known."""
        return self._read_column("peak")

    @cached_property
    def first_duplicate(self) -> NDArray[np.int64]:
        """Index of the first clip with the same content, of shape (n_clips,).

        A clip without a duplicate, or with unknown content, has its own index.
        """
        first = np.arange(len(self))
        if self.version < 2:
            return first
        halves = self._read_column("digest").view(np.uint64)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: of equal clips, the first comes first
        order = order[halves[order].any(axis=1)]
        if len(order):
            is_first = np.r_[True, (np.diff(halves[order], axis=0) != 0).any(axis=1)]
            first[order] = order[is_first][np.cumsum(is_first) - 1]
        return first

    @cached_property
    def identity(self) -> str:
        """Digest of the clips in their order, their prompt texts, and the fingerprint.

        It stays the same when rows are filled or the file is copied. It changes when rows are moved, or belong to other
        clips, prompts or models.
        """
        digest = xxhash.xxh3_128(f"{self.shape} {self.fingerprint}".encode())
        for start in range(0, len(self), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(self)))
            for column in ("name", "prompt"):
                digest.update(self._read_column(column, rows).tobytes())
        digest.update(self._read_column("prompts").tobytes())
        return digest.hexdigest()

    @property
    def done(self) -> NDArray[np.int64]:
        """Indices of the clips that have head vectors, ascending."""
        return np.flatnonzero(self.status == DONE)

    @property
    def failures(self) -> dict[str, str]:
        """Reason of each failed clip, by clip name; the name is followed by the prompt or row where it is ambiguous."""
        failed = np.flatnonzero(self.status == FAILED)
        prompts = self.categorical("prompt")
        texts, reasons = prompts.texts[prompts.codes[failed]], self.read_reasons(failed)
        return failures_by_name(zip(failed.tolist(), self.read_names(failed), texts, reasons, strict=True))

    @property
    def notes(self) -> dict[str, tuple[str, ...]]:
        """Notes on clips that are done, by clip name: truncated, cut, very short, or digital silence.

        Clips without a note are left out.
        """
        done = self.done
        return describe_clips(
            self.read_names(done),
            self.seconds[done].tolist(),
            self.decoded_seconds[done].tolist(),
            self.peak[done].tolist(),
            self.fingerprint.max_seconds,
        )

    def read_names(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read the names of some clips.

        Parameters
        ----------
        rows : array of int of shape (n_rows,)
            Row indices.

        Returns
        -------
        array of str of shape (n_rows,)
            Their names.
        """
        return self._read_texts("name", rows)

    def read_reasons(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read why some clips failed.

        Parameters
        ----------
        rows : array of int of shape (n_rows,)
            Row indices.

        Returns
        -------
        array of str of shape (n_rows,)
            The reasons; empty for a clip that did not fail.
        """
        reasons = self._read_texts("reason", rows)
        reasons[self.status[rows] != FAILED] = ""
        return reasons

    def categorical(self, column: str) -> Categorical:
        """Return a column with few distinct texts as codes and a table of texts.

        Parameters
        ----------
        column : {"label", "split", "group", "prompt"}
            Name of the column.

        Returns
        -------
        Categorical
            ``codes`` of shape (n_clips,) and ``texts`` of shape (n_texts,).

        Raises
        ------
        ValueError
            If the column is damaged, or could not be read when the file was closed.
        """
        if column not in self._categorical:
            self._categorical[column] = self._read_categorical(column)
        return self._categorical[column]

    def _read_categorical(self, column: str) -> Categorical:
        """Read codes and table of a column, and check that they match."""
        if self.version < 2 and column != "prompt":
            return self._encode_texts(column)
        texts, codes = self._read_texts(TABLES[column]), self._read_column(column)
        with damage_as_value_error(self.path):
            if len(set(texts.tolist())) < len(texts):
                raise DamagedFileError(f"{TABLES[column]} contains a text twice")
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(texts):
                raise DamagedFileError(f"{column} has a code outside its table of {len(texts)} {TABLES[column]}")
        return Categorical(codes, texts)

    def _encode_texts(self, column: str) -> Categorical:
        """Make codes and a table for a text column without a table, as in version 1."""
        code_of: dict[str, int] = {}
        codes = np.empty(len(self), dtype=np.int32)
        for start in range(0, len(self), _BLOCK):
            texts = self._read_texts(column, np.arange(start, min(start + _BLOCK, len(self))))
            codes[start : start + len(texts)] = [code_of.setdefault(text, len(code_of)) for text in texts]
        return Categorical(codes, np.array(list(code_of), dtype=object))

    def contents(self, rows: Any = slice(None)) -> Iterator[Content]:
        """Read digest, size and modification time of some clips' content.

        Parameters
        ----------
        rows : int, list of int, mask or slice, default=slice(None)
            Which clips.

        Yields
        ------
        Content
            Of each clip; without a digest where it is unknown.
        """
        indices = np.asarray(select_rows(range(len(self)), rows))
        if self.version < 2:
            yield from (UNKNOWN for _ in indices)
            return
        for start in range(0, len(indices), _BLOCK):
            block = indices[start : start + _BLOCK]
            digests, sizes, times = (self._read_column(name, block) for name in ("digest", "size", "modified"))
            for digest, size, modified in zip(digests, sizes.tolist(), times.tolist(), strict=True):
                yield Content(digest.tobytes(), size, modified) if digest.any() else UNKNOWN

    def _get_dataset(self, name: str) -> Any:
        """Return a dataset of the file, or the column that was loaded when the file was closed."""
        if self._file:
            return self._file[name]
        if name not in self._loaded:
            raise ValueError(f"{self.path} has been closed: open it again with HeadCache")
        return self._loaded[name]

    def _read_column(self, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Read a column, or some rows of it."""
        dataset = self._get_dataset(name)
        with damage_as_value_error(self.path):
            if rows is None:
                return np.asarray(dataset[:])
            values = np.empty((len(rows), *dataset.shape[1:]), dtype=dataset.dtype)
            for span, positions in split_into_blocks(rows, _BLOCK):
                values[positions] = dataset[span][rows[positions] - span.start]
            return values

    def _read_texts(self, name: str, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Read a column of text, or some rows of it, as str."""
        if rows is None:
            rows = np.arange(len(self._get_dataset(name)))
        texts = np.empty(len(rows), dtype=object)
        for start in range(0, len(rows), _BLOCK):
            encoded = self._read_column(name, rows[start : start + _BLOCK]).tolist()
            with damage_as_value_error(self.path):
                texts[start : start + len(encoded)] = [text.decode() for text in encoded]
        return texts

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The dtype of head vectors when they are read: always float32."""
        return np.dtype(np.float32)

    def __getitem__(self, selection: Any) -> HeadRows:
        """Select clips by index, list of indices, mask or slice; head vectors are not read yet."""
        return HeadRows(self, select_rows(range(len(self)), selection))

    def __iter__(self) -> Iterator[HeadRows]:
        return iter(self[:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].__array__(dtype, copy)

    def to_numpy(self) -> Arrays:
        """Read head vectors, labels and groups of all clips that have head vectors.

        Returns
        -------
        X : array of float32 of shape (n_done, n_layers, n_heads, head_dim)
            Head vectors of the clips in :attr:`done`.
        y : array of str of shape (n_done,)
            Their labels; empty for a clip without a label.
        groups : array of str of shape (n_done,)
            Their groups; empty for a clip without a group.

        Examples
        --------
        >>> X, y, groups = HeadCache("heads.h5").to_numpy()  # doctest: +SKIP
        """
        return self[self.done].to_numpy()

    def to_frame(self, vectors: bool = False) -> Any:
        """Make a pandas DataFrame with one row per clip; see :meth:`HeadRows.to_frame`.

        Parameters
        ----------
        vectors : bool, default=False
            Whether to add the head vectors, one column per number.

        Returns
        -------
        pandas.DataFrame
            The metadata of the clips, with or without head vectors.
        """
        return self[:].to_frame(vectors)

    def to_dataset(self) -> Any:
        """Make a Hugging Face dataset with one row per clip; see :meth:`HeadRows.to_dataset`.

        Returns
        -------
        datasets.Dataset
            Metadata and head vectors of the clips.
        """
        return self[:].to_dataset()

    def read(self, rows: Any, heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read the head vectors of some clips.

        Parameters
        ----------
        rows : int, list of int, mask or slice
            Which clips, in any order. They must be done. Negative indices count from the end.
        heads : slice, default=slice(None)
            Which heads to read, without a step. The heads of all layers are numbered together, from 0 to
            ``n_layers * n_heads - 1``. Only the layers of these heads are read from the file.

        Returns
        -------
        array of float32 of shape (n_clips, n_heads, head_dim)
            The head vectors.

        Raises
        ------
        IndexError
            If an index is out of range.
        ValueError
            If a clip has no head vectors, or the file is closed or damaged.
        """
        rows = np.asarray(select_rows(range(len(self)), rows))
        not_done = rows[self.status[rows] != DONE]
        if len(not_done):
            raise ValueError(
                f"{len(not_done)} of the selected clips have no head vectors, such as "
                f"{self.read_names(not_done[:1])[0]!r}: select from cache.done"
            )
        _, layers, per_layer, dim = self.shape
        first, stop, _ = heads.indices(layers * per_layer)
        start_layer, stop_layer = first // per_layer, -(-stop // per_layer)
        n_read = (stop_layer - start_layer) * per_layer
        joined = self._read_stored_vectors(rows, start_layer, stop_layer).reshape(len(rows), n_read, dim)
        vectors = joined[:, first - start_layer * per_layer : stop - start_layer * per_layer].astype(np.float32)
        if not np.isfinite(vectors).all():  # the writer never stores such vectors
            raise ValueError(f"{self.path} is damaged: it contains NaN or infinite head vectors")
        return vectors

    def _read_stored_vectors(
        self, rows: NDArray[np.int64], start_layer: int = 0, stop_layer: int | None = None
    ) -> NDArray[np.floating]:
        """Read head vectors of some layers in the stored dtype, of shape (n_clips, n_layers, n_heads, head_dim)."""
        dataset = self._get_dataset("heads")
        _, layers, per_layer, dim = self.shape
        stop_layer = layers if stop_layer is None else stop_layer
        stored = np.empty((len(rows), stop_layer - start_layer, per_layer, dim), dtype=self.storage)
        with damage_as_value_error(self.path):
            for run in find_runs(rows):
                span = slice(int(rows[run.start]), int(rows[run.start]) + run.stop - run.start)
                dataset.read_direct(stored, np.s_[span, start_layer:stop_layer], np.s_[run])
        return stored
