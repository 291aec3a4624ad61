"""Whose fault an exception is: a clip's, that a library or a model could not take, or a bug of ours."""

from __future__ import annotations

import traceback


def is_ours(error: BaseException) -> bool:
    """Tell whether an exception was raised by a line of this package, and so is no clip's fault.

    What a library or a model raises inside of a call that we make has its last frame there.

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


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message that says anything, or the name of its type.

    >>> first_line(KeyError())
    'KeyError'
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)
