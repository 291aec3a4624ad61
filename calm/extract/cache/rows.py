"""A choice of a cache's clips, of which nothing is read until it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.selection import Rows, choose
from calm.extract.fingerprint import Extraction, resolve_request

if TYPE_CHECKING:
    from calm.extract.cache.reader import HeadCache


class HeadRows:
    """A choice of a cache's clips.

    Choosing among them, by index, list, mask or slice, makes another choice; so does iterating, clip by clip.
    ``np.asarray`` reads them all, as ``(clips, layers, heads, dim)``, and :meth:`read` part by part.

    Parameters
    ----------
    cache : HeadCache
    rows : array of int (n,), or range
    """

    def __init__(self, cache: HeadCache, rows: Rows) -> None:
        self.cache = cache
        self._rows = rows if isinstance(rows, range) else np.asarray(rows, dtype=np.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Their indices in the cache, (n,)."""
        return np.asarray(self._rows, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(clips, layers, heads, dim)``."""
        _, layers, heads, dim = self.cache.shape
        return len(self), layers, heads, dim

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of what is read, whatever the cache's storage."""
        return self.cache.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"HeadRows({len(self)} of {self.cache!r})"

    def __getitem__(self, chosen: Any) -> HeadRows:
        return HeadRows(self.cache, choose(self._rows, chosen))

    def __iter__(self) -> Iterator[HeadRows]:
        return (self[i] for i in range(len(self)))

    @property
    def names(self) -> NDArray[Any]:
        """Name of each chosen clip."""
        return self.cache.names_of(self.rows)

    @property
    def labels(self) -> NDArray[Any]:
        """Label of each chosen clip; empty where it has none."""
        return self._texts("label")

    @property
    def groups(self) -> NDArray[Any]:
        """Group of each chosen clip; empty where it has none."""
        return self._texts("group")

    def _texts(self, column: str) -> NDArray[Any]:
        categorical = self.cache.categorical(column)
        return categorical.texts[categorical.codes[self.rows]]

    @property
    def digests(self) -> list[str | None]:
        """Digest of each chosen clip's content, in hexadecimal digits; None where it is not known."""
        return [content.digest.hex() or None for content in self.cache.contents(self.rows)]

    @property
    def extraction(self) -> Extraction:
        """How these head vectors were made."""
        cache = self.cache
        asked = cache.categorical("prompt")
        prompts = np.unique(asked.codes[self.rows])
        return Extraction(
            request=resolve_request(cache.request, cache.made_with.get("revision"), cache.fingerprint.dtype),
            fingerprint=cache.fingerprint,
            text=str(asked.texts[prompts[0]]) if len(prompts) == 1 else None,
        )

    def read(self, clips: slice = slice(None), heads: slice = slice(None)) -> NDArray[np.float32]:
        """Read some of the heads of some of the clips, ``(clips, heads, dim)``; heads of all layers are one axis."""
        return self.cache.read(self._rows[clips], heads)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("head vectors in a file cannot be had without a copy")
        return self.read().reshape(self.shape).astype(dtype or np.float32, copy=False)
