"""Schema of learned attributes: types of values and axes of arrays, as annotations of the classifier classes.

A learned attribute is an annotated attribute whose name ends in an underscore. For example, ``strength_: Positive``
declares a value, and ``prototypes_: Annotated[Array, LearnedArray("CUD")]`` declares an array. The contents of a file
are validated against this schema before a classifier is built from them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

_MAX = sys.float_info.max
Positive = Annotated[float, Meta(gt=0, le=_MAX)]
Count = Annotated[int, Meta(ge=1, le=2**40)]
#: Marks values that may be NaN. JSON has no NaN, so that files contain null instead.
_NULL_IS_NAN = "NaN is stored as null"
Share = Annotated[float, Meta(ge=0, le=1), _NULL_IS_NAN]
Loss = Annotated[float, Meta(ge=0, le=_MAX), _NULL_IS_NAN]

_DTYPES = {"vectors": ("float32", "float64"), "counts": ("int64", "float64"), "heads": ("int64",)}
_AXES = {"C": "classes", "K": "heads", "U": "used heads", "D": "dimensions", "n": "any number"}


@dataclass(frozen=True)
class LearnedArray:
    """Shape, dtype and constraints of a learned array."""

    axes: str  #: a letter per axis: C classes, K heads, U used heads, D dimensions, n any number
    #: "vectors" are finite; "counts" are finite and not negative; "heads" are distinct indices of heads
    kind: Literal["vectors", "counts", "heads"] = "vectors"
    ascending: bool = False  #: whether values are sorted
    when: str | None = None  #: boolean attribute of the classifier; if it is False, the array is None


def learned_arrays(classifier_class: type) -> dict[str, LearnedArray]:
    """Return the declared arrays of a classifier class, by attribute name."""
    specs = {name: _find_array_spec(hint) for name, hint in _learned_hints(classifier_class).items()}
    return {name: spec for name, spec in specs.items() if spec is not None}


@cache
def _learned_values(classifier_class: type) -> type[msgspec.Struct]:
    """Return a msgspec schema of the declared values of a classifier class."""
    values = [
        (name, hint | None if _is_nullable(hint) else hint, getattr(classifier_class, name, msgspec.NODEFAULT))
        for name, hint in _learned_hints(classifier_class).items()
        if not _find_array_spec(hint)
    ]
    return msgspec.defstruct(classifier_class.__name__, values, kw_only=True, forbid_unknown_fields=True)


def values_to_json(classifier_class: type, learned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the learned values with NaN replaced by None, ready for JSON."""
    nullable = {name for name, hint in _learned_hints(classifier_class).items() if _is_nullable(hint)}
    names = _learned_values(classifier_class).__struct_fields__
    return {name: None if name in nullable and math.isnan(learned[name]) else learned[name] for name in names}


def values_from_json(classifier_class: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Validate values from JSON and replace None by NaN where a value may be NaN.

    Raises
    ------
    ValueError
        If a value is missing, unknown, or of another type than declared.
    """
    validated = msgspec.structs.asdict(msgspec.convert(dict(values), _learned_values(classifier_class)))
    nullable = {name for name, hint in _learned_hints(classifier_class).items() if _is_nullable(hint)}
    return {name: math.nan if name in nullable and value is None else value for name, value in validated.items()}


def check_arrays(classifier: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Validate the arrays of a classifier whose parameters, classes and values are set.

    Raises
    ------
    ValueError
        If an array is missing, unknown, of another shape or dtype than declared, or contains invalid values.
    """
    specs = learned_arrays(type(classifier))
    for name in sorted(arrays.keys() - specs.keys()):
        raise ValueError(f"{name} is not a learned array of {type(classifier).__name__}")
    needed = {name for name, spec in specs.items() if spec.when is None or getattr(classifier, spec.when)}
    for name in sorted(needed - arrays.keys()):
        raise ValueError(f"{name} is missing")
    sizes: dict[str, int] = {"C": len(classifier.classes_), "K": classifier.n_heads_in_, "D": classifier.dim_}
    sizes["U"] = max(1, arrays["used_heads_"].size)
    for name, array in arrays.items():
        _check_array(name, array, specs[name], sizes)


def _check_array(name: str, array: NDArray[Any], spec: LearnedArray, sizes: Mapping[str, int]) -> None:
    """Raise ValueError if an array does not match its declaration."""
    if str(array.dtype) not in _DTYPES[spec.kind]:
        raise ValueError(f"{name} has dtype {array.dtype}; expected {' or '.join(_DTYPES[spec.kind])}")
    expected = tuple(sizes.get(axis, size) for axis, size in zip(spec.axes, array.shape, strict=False))
    if array.ndim != len(spec.axes) or array.shape != expected:
        axes = ", ".join(f"{_AXES[axis]} {sizes.get(axis, '')}".rstrip() for axis in spec.axes)
        raise ValueError(f"{name} has shape {array.shape}; expected ({axes})")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity")
    if spec.kind == "counts" and (array < 0).any():
        raise ValueError(f"{name} contains negative counts")
    if spec.kind == "heads" and (len(np.unique(array)) < len(array) or array.min() < 0 or array.max() >= sizes["K"]):
        raise ValueError(f"{name} does not contain distinct head indices below {sizes['K']}")
    if spec.ascending and (np.diff(array) < 0).any():
        raise ValueError(f"{name} is not sorted")


@cache
def _learned_hints(classifier_class: type) -> dict[str, Any]:
    """Return the annotations of learned attributes."""
    hints = get_type_hints(classifier_class, include_extras=True)
    return {name: hint for name, hint in hints.items() if name.endswith("_") and not name.startswith("_")}


def _find_array_spec(hint: Any) -> LearnedArray | None:
    return next((extra for extra in _annotation_extras(hint) if isinstance(extra, LearnedArray)), None)


def _is_nullable(hint: Any) -> bool:
    return _NULL_IS_NAN in [extra for extra in _annotation_extras(hint) if isinstance(extra, str)]


def _annotation_extras(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()
