"""Selected clips of a cache, whose head vectors are read on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
