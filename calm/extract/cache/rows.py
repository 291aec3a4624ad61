"""Selected clips of a cache, whose head vectors are read on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.export import Arrays, make_arrays, make_dataset, make_frame
from calm.extract.cache.selection import Rows, select_rows
from calm.extract.fingerprint import Extraction, resolve_request

if TYPE_CHECKING:
    from calm.extract.cache.reader import HeadCache


class HeadRows:
    """Selected clips of a head cache, which classifiers accept as ``X``.

    Index a :class:`HeadCache` to create it. Indexing it again, by index, list of indices, mask or slice, selects
    among its clips. Iterating yields one selection per clip. Head vectors stay in the file until they are read:
    ``np.asarray`` reads all of them as an array of shape (n_clips, n_layers, n_heads, head_dim), and :meth:`read` reads
    a part.

    Parameters
    ----------
    cache : HeadCache
        The cache to read from. It must stay open while head vectors are read.
    rows : array of int of shape (n_clips,), or range
        Row indices in the cache, in any order.

    See Also
    --------
    calm.extract.HeadCache : Reader of a head cache.
    calm.CALMClassifier : Few-shot classifier that can be fitted on a selection.

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
    ...         rows = cache[[0, 3]]
    ...         rows.rows, len(np.unique(rows.labels)), np.asarray(rows).shape == rows.shape
    (array([0, 3]), 2, True)
    """

    def __init__(self, cache: HeadCache, rows: Rows) -> None:
        self.cache = cache
        self._rows = rows if isinstance(rows, range) else np.asarray(rows, dtype=np.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row indices of the selected clips in the cache, of shape (n_clips,)."""
        return np.asarray(self._rows, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape ``(n_clips, n_layers, n_heads, head_dim)`` of the head vectors."""
        _, layers, heads, dim = self.cache.shape
        return len(self), layers, heads, dim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The dtype of head vectors when they are read: always float32."""
        return self.cache.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"HeadRows({len(self)} of {self.cache!r})"

    def __getitem__(self, selection: Any) -> HeadRows:
        return HeadRows(self.cache, select_rows(self._rows, selection))

    def __iter__(self) -> Iterator[HeadRows]:
        return (self[i] for i in range(len(self)))

    @property
    def names(self) -> NDArray[Any]:
        """Name of each selected clip, as str of shape (n_clips,)."""
        return self.cache.read_names(self.rows)

    @property
    def labels(self) -> NDArray[Any]:
        """Label of each selected clip, as str of shape (n_clips,); empty for a clip without a label."""
        return self._read_texts("label")

    @property
    def groups(self) -> NDArray[Any]:
        """Group of each selected clip, as str of shape (n_clips,); empty for a clip without a group."""
        return self._read_texts("group")

    @property
    def splits(self) -> NDArray[Any]:
        """Split of each selected clip, as str of shape (n_clips,); empty for a clip without a split."""
        return self._read_texts("split")

    @property
    def reasons(self) -> NDArray[Any]:
        """Why each selected clip failed, as str of shape (n_clips,); empty for a clip that did not fail."""
        return self.cache.read_reasons(self.rows)

    def to_numpy(self) -> Arrays:
        """Read the head vectors, labels and groups of the selected clips together.

        Returns
        -------
        X : array of float32 of shape (n_clips, n_layers, n_heads, head_dim)
            Head vectors.
        y : array of str of shape (n_clips,)
            Labels; empty for a clip without a label.
        groups : array of str of shape (n_clips,)
            Groups; empty for a clip without a group.

        Raises
        ------
        ValueError
            If a selected clip has no head vectors. ``cache[cache.done]`` selects those that have some.

        Examples
        --------
        >>> import tempfile
        >>> from calm.extract import HeadCache, Request, extract_to_cache, find_clips
        >>> clips = find_clips([np.ones(1600), np.zeros(1600)], ["hum", "silence"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny"))
        ...     with HeadCache(report.path) as cache:
        ...         X, y, groups = cache[:].to_numpy()
        >>> X.shape, y.tolist()
        ((2, 6, 8, 32), ['hum', 'silence'])
        """
        return make_arrays(self)

    def to_frame(self, vectors: bool = False) -> Any:
        """Make a pandas DataFrame with one row per selected clip.

        Parameters
        ----------
        vectors : bool, default=False
            Whether to add the head vectors, one column per number: ``l0_h3_d17`` is entry 17 of the vector of head 3 in
            layer 0. They are NaN for clips without head vectors. Large models have 100,000 such columns and more.

        Returns
        -------
        pandas.DataFrame
            Columns name, label, split, group, prompt, status, reason, seconds, decoded_seconds, peak and digest.

        Raises
        ------
        ImportError
            If pandas is not installed (extra ``pandas``).

        Examples
        --------
        >>> import tempfile
        >>> from calm.extract import HeadCache, Request, extract_to_cache, find_clips
        >>> clips = find_clips([np.ones(1600), np.zeros(1600)], ["hum", "silence"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny"))
        ...     with HeadCache(report.path) as cache:
        ...         frame = cache[:].to_frame()
        >>> frame[["label", "status", "peak"]].values.tolist()
        [['hum', 'done', 1.0], ['silence', 'done', 0.0]]
        """
        return make_frame(self, vectors)

    def to_dataset(self) -> Any:
        """Make a Hugging Face dataset with one row per selected clip, block by block.

        Returns
        -------
        datasets.Dataset
            The columns of :meth:`to_frame`, and ``heads`` of shape (n_layers, n_heads, head_dim) in float32; None for
            a clip without head vectors. The data are in the cache folder of datasets, not in memory.

        Raises
        ------
        ImportError
            If datasets is not installed (extra ``datasets``).

        Examples
        --------
        >>> HeadCache("heads.h5").to_dataset().with_format("torch")  # doctest: +SKIP
        """
        return make_dataset(self)

    def _read_texts(self, column: str) -> NDArray[Any]:
        categorical = self.cache.categorical(column)
        return categorical.texts[categorical.codes[self.rows]]

    @property
    def digests(self) -> list[str | None]:
        """Content digest of each selected clip in hexadecimal; None where it is unknown."""
        return [content.digest.hex() or None for content in self.cache.contents(self.rows)]

    @property
    def extraction(self) -> Extraction:
        """How these head vectors were extracted: request, fingerprint, and the prompt text if all clips share it."""
        cache = self.cache
        prompts = cache.categorical("prompt")
        codes = np.unique(prompts.codes[self.rows])
        return Extraction(
            request=resolve_request(cache.request, cache.made_with.get("revision"), cache.fingerprint.dtype),
            fingerprint=cache.fingerprint,
            text=str(prompts.texts[codes[0]]) if len(codes) == 1 else None,
        )

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read head vectors of some of the selected clips.

        Parameters
        ----------
        clips : slice, default=slice(None)
            Which of the selected clips to read.
        heads : slice, default=slice(None)
            Which heads to read. The heads of all layers are numbered together, from 0 to ``n_layers * n_heads - 1``.

        Returns
        -------
        array of float32 of shape (n_clips, n_heads, head_dim)
            The head vectors.
        """
        return self.cache.read(self._rows[clips], heads)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("head vectors in a file cannot be read without a copy: leave out copy=False")
        return self.read().reshape(self.shape).astype(dtype or np.float32, copy=False)
