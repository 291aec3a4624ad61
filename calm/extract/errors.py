"""Distinguish exceptions that a clip causes from bugs in calm, and recognize a shortage of memory."""

from __future__ import annotations

import traceback


def is_internal_error(error: BaseException) -> bool:
    """Return whether an exception was raised by code of calm, so that it is a bug and not a clip's fault.

    The last frame of the traceback decides. For an exception from a library or a model, it lies in their code. C
    functions have no frame: an exception from one that calm calls directly counts as calm's own.

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
    """Return whether an exception reports that a device, or the CPU, is out of memory.

    PyTorch has an exception class for some devices only; for others the message decides.

    Examples
    --------
    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    True
    >>> is_out_of_memory(RuntimeError("no"))
    False
    """
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in message for phrase in _OUT_OF_MEMORY_PHRASES)


_OUT_OF_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def short_message(error: BaseException) -> str:
    """Return the first line of an exception's message that is not blank, or else the name of its type.

    Examples
    --------
    >>> short_message(KeyError())
    'KeyError'
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
