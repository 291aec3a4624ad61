"""One code for numpy and torch: what the array API standard leaves to be said."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array, to_device
from numpy.typing import NDArray

#: A numpy array, or a torch tensor on any device. What a function returns lives where its argument does.
Array: TypeAlias = Any


def namespace(x: Array) -> Any:
    """Return the module of functions for an array: numpy's or torch's, under the names of the array API standard."""
    return array_namespace(x)


def is_numpy(x: Any) -> bool:
    """Tell whether an array is numpy's own."""
    return bool(is_numpy_array(x))


def convert_like(x: Array, values: Any, dtype: Any = None) -> Array:
    """Bring values to where ``x`` is, in their own precision unless another is asked for.

    >>> convert_like(np.zeros(2), [1, 2])
    array([1, 2])
    """
    return namespace(x).asarray(values, dtype=dtype, device=device(x))


def to_numpy(x: Array) -> NDArray[Any]:
    """Bring an array to numpy."""
    return np.asarray(x) if is_numpy(x) else np.asarray(to_device(x, "cpu"))


def to_float64(x: Array) -> Array:
    """Widen to float64, where the device has it (Apple's GPUs do not)."""
    xp = namespace(x)
    return x if str(device(x)).startswith("mps") else xp.astype(x, xp.float64, copy=False)


def tiny(x: Array) -> float:
    """Return the smallest normal number of an array's precision.

    >>> tiny(np.zeros(1, dtype=np.float32)) < 1e-37
    True
    """
    return float(namespace(x).finfo(x.dtype).smallest_normal)


def epsilon(x: Array) -> float:
    """Return the rounding error of an array's precision."""
    return float(namespace(x).finfo(x.dtype).eps)
