"""Regular files alone are opened: whoever opens a named pipe waits, and a device may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a file for reading, if it is one; links are followed.

    What is no file is not opened. Where one takes a file's place in between, opening it does not wait, and it is
    closed again.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or none can be called so.
    OSError
        If it is no regular file, or may not be read.
    """
    try:
        check_regular(path, Path(path).stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except ValueError as error:  # NUL, or characters that the file system cannot write
        raise FileNotFoundError(f"no such file, nor can there be: {path}") from error
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(f"{error.strerror}: {path}") from error
    try:
        check_regular(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def check_regular(path: str | Path, mode: int) -> None:
    """Refuse what is no regular file, by its ``st_mode``.

    Raises
    ------
    OSError
        Saying what it is.
    """
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise OSError(f"{path} is {kind}, not a file")


def is_there(path: str | Path) -> bool:
    """Tell whether something is at a path, whatever text that is."""
    try:
        Path(path).stat()
    except (OSError, ValueError):
        return False
    return True
