"""Warnings that many calls give alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def show_each_warning_once(show: Callable[..., Any] | None = None) -> Iterator[None]:
    """Show every warning of one text only once, however many fits give it.

    Parameters
    ----------
    show : callable, optional
        What to show it with: called as :func:`warnings.showwarning` is, which it takes the place of.

    Examples
    --------
    >>> with show_each_warning_once(lambda message, *_: print(message)):
    ...     for _ in range(3):
    ...         warnings.warn("few groups", stacklevel=1)
    few groups
    """
    shown, told = show or warnings.showwarning, set[str]()

    def once(message: Warning | str, *where: Any, **more: Any) -> None:
        if str(message) not in told:
            told.add(str(message))
            shown(message, *where, **more)

    with warnings.catch_warnings():
        warnings.showwarning = once
        yield
