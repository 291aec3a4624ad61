"""Head vectors in memory that know how they were made."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm.extract.fingerprint import Extraction


class HeadArray(np.ndarray):
    """Head vectors ``(clips, layers, heads, dim)``, with how they were made.

    An array that cannot be written to, and otherwise like any other. Clips chosen from it know the same; what is
    computed from it, laid out in another way, or copied to be changed, does not.

    Parameters
    ----------
    vectors : array-like (clips, layers, heads, dim)
    extraction : Extraction

    Attributes
    ----------
    extraction : Extraction or None
        None for arrays of another layout.

    Examples
    --------
    >>> from calm import HeadExtractor
    >>> X = HeadExtractor("tiny").transform([np.zeros(16000), np.ones(16000)])
    >>> X.shape, X[:1].extraction.request.model, type(X.mean(axis=0))
    ((2, 6, 8, 32), 'tiny', <class 'numpy.ndarray'>)
    """

    extraction: Extraction | None

    def __new__(cls, vectors: ArrayLike, extraction: Extraction | None) -> Self:
        """View vectors as what they are."""
        array = np.asarray(vectors).view(cls)
        array.extraction = extraction
        array.flags.writeable = False  # other numbers would not be what the extraction made
        return array

    def __array_finalize__(self, source: NDArray[Any] | None) -> None:
        self.extraction = None

    def __array_wrap__(self, array: NDArray[Any], context: Any = None, return_scalar: bool = False) -> Any:
        """Return what a function computed as a plain array, or as a number."""
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def __getitem__(self, chosen: Any) -> Any:
        part = super().__getitem__(chosen)
        if not isinstance(part, HeadArray):
            return part
        if isinstance(chosen, tuple) or part.ndim != self.ndim:  # other than whole clips
            return np.asarray(part)
        part.extraction = self.extraction
        return part

    def __reduce__(self) -> tuple[Any, ...]:
        return HeadArray, (np.asarray(self), self.extraction)

    def __copy__(self) -> HeadArray:
        return HeadArray(np.array(self), self.extraction)

    def __deepcopy__(self, memo: dict[int, Any] | None) -> HeadArray:
        return HeadArray(np.array(self), self.extraction)
