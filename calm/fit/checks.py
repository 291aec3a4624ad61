"""Refusing parameters that are out of range."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

_TINY, _HUGE = 1e-30, 1e30


def check_positive(name: str, value: Any) -> None:
    """Refuse what is not a number above zero, or is one that float32 cannot divide by.

    >>> check_positive("temperature", 0)
    Traceback (most recent call last):
        ...
    ValueError: temperature must be above 0 (1e-30 to 1e+30), got 0
    """
    if not isinstance(value, Real) or not _TINY < float(value) < _HUGE:
        raise ValueError(f"{name} must be above 0 ({_TINY:g} to {_HUGE:g}), got {value!r}")


def check_not_negative(name: str, value: Any) -> None:
    """Refuse what is not a number of zero or above."""
    if not isinstance(value, Real) or not float(value) >= 0:
        raise ValueError(f"{name} must be 0 or above, got {value!r}")


def check_count(name: str, value: Any) -> None:
    """Refuse what is not a whole number of one or above."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be at least 1 and a whole number, got {value!r}")
