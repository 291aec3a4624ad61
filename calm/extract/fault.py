"""Whose fault an exception is: a clip's, that a library or a model could not take, or a bug of ours."""

from __future__ import annotations

import traceback


def is_ours(error: BaseException) -> bool:
    """Tell whether an exception was raised by a line of this package, and so is no clip's fault.

    What a library or a model raises inside of a call that we make has its last frame there. A function in C has no
    frame: what one raises that a line of ours calls counts as ours.

    Examples
    --------
    >>> import json
    >>> try:
    ...     json.loads("{")
    ... except ValueError as error:
    ...     is_ours(error)
    False
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    module = frames[-1][0].f_globals.get("__name__", "") if frames else ""
    return module == "calm" or module.startswith("calm.")


def is_shortage(error: BaseException) -> bool:
    """Tell whether an exception says that memory does not suffice, whichever device it is about.

    PyTorch has an exception of its own for some devices only; others have words.

    >>> is_shortage(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_shortage(RuntimeError("no"))
    (True, False)
    """
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(told in words for told in _SHORTAGE)


_SHORTAGE = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message that says anything, or the name of its type.

    >>> first_line(KeyError())
    'KeyError'
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
