"""Failed clips: rows of ``X`` that are all NaN, because the clip could not be read."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj
from numpy.typing import NDArray
from sklearn.utils import _safe_indexing, check_consistent_length

from calm.classifiers.inputs import is_non_numpy_array
from calm.fit.arrays import Array, convert_like, namespace, to_numpy


def find_failed_clips(X: Any) -> NDArray[np.bool_]:
    """Return for each clip whether all its values are NaN; an empty array if ``X`` is not an array of floats.

    Rows of head caches never fail: a cache marks clips that could not be read.

    >>> find_failed_clips(np.array([[[np.nan, np.nan]], [[np.nan, 1.0]]]))
    array([ True, False])
    """
    if not is_array_api_obj(X) or X.ndim < 2 or 0 in X.shape or not namespace(X).isdtype(X.dtype, "real floating"):
        return np.zeros(0, dtype=bool)
    xp = namespace(X)
    failed = to_numpy(xp.isnan(X[(slice(None), *[0] * (X.ndim - 1))])).copy()
    if failed.any():  # only then read the other values
        candidates = np.flatnonzero(failed)
        rows = X[convert_like(X, candidates)]
        failed[candidates] = to_numpy(xp.all(xp.isnan(rows), axis=tuple(range(1, X.ndim))))
    return failed


def refuse_failed_clips(X: Any, action: str) -> None:
    """Raise a ValueError if ``X`` has failed clips; ``action`` says what cannot be done with them."""
    failed = find_failed_clips(X)
    if failed.any():
        raise ValueError(f"failed clips cannot be {action}: {_describe(failed)}. Leave them out of X")


def leave_out_failed_clips(X: Any, *per_clip: Any) -> tuple[Any, ...]:
    """Return ``X`` and other values per clip, such as labels, without the failed clips.

    Values that are None or a single number are returned unchanged.

    Raises
    ------
    ValueError
        If no clip is left, or the numbers of clips differ.
    """
    failed = find_failed_clips(X)
    if not failed.any():
        return X, *per_clip
    check_consistent_length(X, *(values for values in per_clip if np.ndim(values)))
    kept = np.flatnonzero(~failed)
    if len(kept) == 0:
        raise ValueError(f"no clip is left to fit on: {_describe(failed)}")
    warnings.warn(f"fit leaves out failed clips: {_describe(failed)}", UserWarning, stacklevel=2)
    arrays = [to_numpy(values) if is_non_numpy_array(values) else values for values in per_clip]
    selected = [_safe_indexing(values, kept) if np.ndim(values) else values for values in arrays]
    return X[convert_like(X, kept)], *selected


def replace_failed_clips(X: Array, failed: NDArray[np.bool_]) -> Array:
    """Return a copy of ``X`` with zeros in the rows of failed clips."""
    xp = namespace(X)
    is_failed = xp.reshape(convert_like(X, failed), (-1, *[1] * (X.ndim - 1)))
    return xp.where(is_failed, xp.zeros_like(X), X)


def warn_of_failed_clips(failed: NDArray[np.bool_], consequence: str) -> None:
    """Warn of failed clips, if there are any; ``consequence`` says what they get."""
    if failed.any():
        warnings.warn(f"{consequence}: {_describe(failed)}", UserWarning, stacklevel=2)


def _describe(failed: NDArray[np.bool_]) -> str:
    return f"the head vectors of {failed.sum()} of {len(failed)} clips are NaN, because the clips could not be read"
