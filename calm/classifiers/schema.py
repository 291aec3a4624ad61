"""What a classifier learns, as the annotations of its class say: the types of values, the axes of arrays.

A name that ends in an underscore is learnt. ``strength_: Positive`` is a value; ``prototypes_: Annotated[Array,
LearnedArray("CUD")]`` an array. What a file holds is checked against that before a classifier is made of it.
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
_NULL_IS_NAN = "NaN where it is not known, which JSON has not: null in a file"
Share = Annotated[float, Meta(ge=0, le=1), _NULL_IS_NAN]
Loss = Annotated[float, Meta(ge=0, le=_MAX), _NULL_IS_NAN]

_DTYPES = {"vectors": ("float32", "float64"), "counts": ("int64", "float64"), "heads": ("int64",)}
_AXES = {"C": "classes", "K": "heads", "U": "used heads", "D": "dimensions", "n": "any number"}


@dataclass(frozen=True)
class LearnedArray:
    """What a learnt array looks like."""

    axes: str  #: a letter each: C classes, K heads, U used heads, D dimensions, n any number
    kind: Literal["vectors", "counts", "heads"] = "vectors"  #: finite; and not below 0; or numbers of different heads
    ascending: bool = False
    when: str | None = None  #: attribute of the classifier that says whether there is one; else it is None


def learned_arrays(kind: type) -> dict[str, LearnedArray]:
    """Return the arrays that a class of classifiers learns."""
    return {name: spec for name, hint in _learned_hints(kind).items() if (spec := _find_array_spec(hint)) is not None}


@cache
def _learned_values(kind: type) -> type[msgspec.Struct]:
    """Return the values that a class learns, as a schema."""
    values = [
        (name, hint | None if _is_nullable(hint) else hint, getattr(kind, name, msgspec.NODEFAULT))
        for name, hint in _learned_hints(kind).items()
        if not _find_array_spec(hint)
    ]
    return msgspec.defstruct(kind.__name__, values, kw_only=True, forbid_unknown_fields=True)


def values_to_json(kind: type, learnt: Mapping[str, Any]) -> dict[str, Any]:
    """Write learnt values as JSON can hold them; NaN becomes null."""
    nullable = {name for name, hint in _learned_hints(kind).items() if _is_nullable(hint)}
    names = _learned_values(kind).__struct_fields__
    return {name: None if name in nullable and math.isnan(learnt[name]) else learnt[name] for name in names}


def values_from_json(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Read what :func:`values_to_json` wrote.

    Raises
    ------
    ValueError
        If a value is missing, unknown, or of another type than the class says.
    """
    found = msgspec.structs.asdict(msgspec.convert(dict(values), _learned_values(kind)))
    nullable = {name for name, hint in _learned_hints(kind).items() if _is_nullable(hint)}
    return {name: math.nan if name in nullable and value is None else value for name, value in found.items()}


def check_arrays(classifier: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Check the arrays of a classifier whose parameters, classes and values are known.

    Raises
    ------
    ValueError
        If one is missing, unknown, of another shape than the others say, or holds what it cannot.
    """
    specs = learned_arrays(type(classifier))
    for name in sorted(arrays.keys() - specs.keys()):
        raise ValueError(f"{name} is no array that a {type(classifier).__name__} learns")
    needed = {name for name, spec in specs.items() if spec.when is None or getattr(classifier, spec.when)}
    for name in sorted(needed - arrays.keys()):
        raise ValueError(f"{name} is missing")
    sizes: dict[str, int] = {"C": len(classifier.classes_), "K": classifier.n_heads_in_, "D": classifier.dim_}
    sizes["U"] = max(1, arrays["used_heads_"].size)
    for name, array in arrays.items():
        _check_array(name, array, specs[name], sizes)


def _check_array(name: str, array: NDArray[Any], spec: LearnedArray, sizes: Mapping[str, int]) -> None:
    if str(array.dtype) not in _DTYPES[spec.kind]:
        raise ValueError(f"{name} is of type {array.dtype}, not {' or '.join(_DTYPES[spec.kind])}")
    expected = tuple(sizes.get(axis, size) for axis, size in zip(spec.axes, array.shape, strict=False))
    if array.ndim != len(spec.axes) or array.shape != expected:
        axes = ", ".join(f"{_AXES[axis]} {sizes.get(axis, '')}".rstrip() for axis in spec.axes)
        raise ValueError(f"{name} has shape {array.shape}; expected ({axes})")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    if spec.kind == "counts" and (array < 0).any():
        raise ValueError(f"{name} holds counts below 0")
    if spec.kind == "heads" and (len(np.unique(array)) < len(array) or array.min() < 0 or array.max() >= sizes["K"]):
        raise ValueError(f"{name} are not different heads of {sizes['K']}")
    if spec.ascending and (np.diff(array) < 0).any():
        raise ValueError(f"{name} is not sorted")


@cache
def _learned_hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint for name, hint in hints.items() if name.endswith("_") and not name.startswith("_")}


def _find_array_spec(hint: Any) -> LearnedArray | None:
    return next((extra for extra in _annotation_extras(hint) if isinstance(extra, LearnedArray)), None)


def _is_nullable(hint: Any) -> bool:
    return _NULL_IS_NAN in [extra for extra in _annotation_extras(hint) if isinstance(extra, str)]


def _annotation_extras(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()
