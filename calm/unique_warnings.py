"""Show repeated warnings once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def show_each_warning_once(show: Callable[..., Any] | None = None) -> Iterator[None]:
    """Show warnings with the same text only once, for example those of many fits.

    Parameters
    ----------
    show : callable, default=None
        Function that shows a warning, with the signature of :func:`warnings.showwarning`. None means
        :func:`warnings.showwarning` itself.

    Examples
    --------
    >>> with show_each_warning_once(lambda message, *_: print(message)):
    ...     for _ in range(3):
    ...         warnings.warn("few groups", stacklevel=1)
    few groups
    """
    show_warning, seen = show or warnings.showwarning, set[str]()

    def show_unless_seen(message: Warning | str, *location: Any, **options: Any) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            show_warning(message, *location, **options)

    with warnings.catch_warnings():
        warnings.showwarning = show_unless_seen
        yield
