"""Range checks of parameters."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

import numpy as np

#: Limits within which float32 can divide and multiply without underflow or overflow.
_TINY, _HUGE = 1e-30, 1e30


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def check_positive(name: str, value: Any) -> None:
    """Raise ValueError if the value is not a positive number in the safe range of float32.

    >>> check_positive("temperature", 0)
    Traceback (most recent call last):
        ...
    ValueError: temperature must be above 0 (1e-30 to 1e+30), got 0
    """
    if not _is_number(value) or not _TINY < value < _HUGE:
        raise ValueError(f"{name} must be above 0 ({_TINY:g} to {_HUGE:g}), got {value!r}")


def check_not_negative(name: str, value: Any) -> None:
    """Raise ValueError if the value is not a finite number of at least 0."""
    if not _is_number(value) or not 0 <= value < _HUGE:
        raise ValueError(f"{name} must be 0 or above (below {_HUGE:g}), got {value!r}")


def check_count(name: str, value: Any) -> None:
    """Raise ValueError if the value is not a whole number of at least 1."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be at least 1 and a whole number, got {value!r}")


def check_share(name: str, value: Any) -> None:
    """Raise ValueError if the value is not a number between 0 and 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value!r}")


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError if the value is not a bool."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise ValueError if the value is not one of the choices.

    >>> check_choice("combine", "magic", ("joint", "vote"))
    Traceback (most recent call last):
        ...
    ValueError: combine must be one of joint, vote; got 'magic'
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
