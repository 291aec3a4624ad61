"""Whose fault an exception is: a clip's, that a library or a model could not take, or a bug of ours."""

from __future__ import annotations

import traceback


def is_internal_error(error: BaseException) -> bool:
    """Tell whether an exception was raised by a line of this package, and so is no clip's fault.

    What a library or a model raises inside of a call that we make has its last frame there. A function in C has no
    frame: what one raises that a line of ours calls counts as ours.

    Examples
    --------
    >>> import json
    >>> try:
    ...     json.loads("{")
    ... except ValueError as error:
    ...     is_internal_error(error)
    False
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    module = frames[-1][0].f_globals.get("__name__", "") if frames else ""
    return module == "calm" or module.startswith("calm.")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory does not suffice, whichever device it is about.

    PyTorch has an exception of its own for some devices only; others have words.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    >>> is_out_of_memory(RuntimeError("no"))
    False
    """
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(told in words for told in _SHORTAGE)


_SHORTAGE = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def short_message(error: BaseException) -> str:
    """Return the first line of an exception's message that says anything, or the name of its type.

    >>> short_message(KeyError())
    'KeyError'
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
