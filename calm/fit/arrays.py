"""Helpers for code that runs on numpy arrays and torch tensors, beyond the array API standard."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array, to_device
from numpy.typing import NDArray

#: A numpy array, or a torch tensor on any device. Functions return arrays on the device of their argument.
Array: TypeAlias = Any


def namespace(x: Array) -> Any:
    """Return the array API namespace of an array: the functions of numpy or torch under standard names."""
    return array_namespace(x)


def is_numpy(x: Any) -> bool:
    """Return whether an array is a numpy array."""
    return bool(is_numpy_array(x))


def convert_like(x: Array, values: Any, dtype: Any = None) -> Array:
    """Convert values to an array on the device of ``x``; by default, the dtype of the values is kept.

    >>> convert_like(np.zeros(2), [1, 2])
    array([1, 2])
    """
    return namespace(x).asarray(values, dtype=dtype, device=device(x))


def to_numpy(x: Array) -> NDArray[Any]:
    """Convert an array to numpy, from any device."""
    return np.asarray(x) if is_numpy(x) else np.asarray(to_device(x, "cpu"))


def to_float64(x: Array) -> Array:
    """Convert to float64, except on devices without float64 (MPS)."""
    xp = namespace(x)
    return x if str(device(x)).startswith("mps") else xp.astype(x, xp.float64, copy=False)


def tiny(x: Array) -> float:
    """Return the smallest normal number of the dtype of an array.

    >>> tiny(np.zeros(1, dtype=np.float32)) < 1e-37
    True
    """
    return float(namespace(x).finfo(x.dtype).smallest_normal)


def epsilon(x: Array) -> float:
    """Return the machine epsilon of the dtype of an array."""
    return float(namespace(x).finfo(x.dtype).eps)
