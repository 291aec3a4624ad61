"""Head vectors in memory, with the record of their extraction."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm.extract.fingerprint import Extraction


class HeadArray(np.ndarray):
    """Read-only array of head vectors that keeps the record of their extraction.

    A selection of clips keeps ``extraction``. Writable copies, other layouts and results of computations do not.

    Parameters
    ----------
    vectors : array-like of shape (n_clips, n_layers, n_heads, head_dim)
        Head vectors.
    extraction : Extraction or None
        How they were extracted.

    Attributes
    ----------
    extraction : Extraction or None
        How the head vectors were extracted; None if unknown.

    See Also
    --------
    calm.HeadExtractor : Extract head vectors into such an array.
    calm.extract.HeadRows : Rows of a head cache, with their extraction.

    Examples
    --------
    >>> from calm import HeadExtractor
    >>> X = HeadExtractor("tiny", sampling_rate=16000).transform([np.zeros(16000), np.ones(16000)])
    >>> X.shape, X[:1].extraction.request.model, type(X.mean(axis=0))
    ((2, 6, 8, 32), 'tiny', <class 'numpy.ndarray'>)
    """

    extraction: Extraction | None

    def __new__(cls, vectors: ArrayLike, extraction: Extraction | None) -> Self:
        """Create a read-only view of the vectors."""
        array = np.asarray(vectors).view(cls)
        array.extraction = extraction
        array.flags.writeable = False  # changed values would not match the extraction
        return array

    def __array_finalize__(self, source: NDArray[Any] | None) -> None:
        self.extraction = None

    def __array_wrap__(self, array: NDArray[Any], context: Any = None, return_scalar: bool = False) -> Any:
        """Return the result of a NumPy function as a plain array or scalar."""
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def __getitem__(self, index: Any) -> Any:
        selected = super().__getitem__(index)
        if not isinstance(selected, HeadArray):
            return selected
        if isinstance(index, tuple) or selected.ndim != self.ndim:  # not a selection of whole clips
            return np.asarray(selected)
        selected.extraction = self.extraction
        return selected

    def __reduce__(self) -> tuple[Any, ...]:
        return HeadArray, (np.asarray(self), self.extraction)

    def __copy__(self) -> HeadArray:
        return HeadArray(np.array(self), self.extraction)

    def __deepcopy__(self, memo: dict[int, Any] | None) -> HeadArray:
        return HeadArray(np.array(self), self.extraction)
