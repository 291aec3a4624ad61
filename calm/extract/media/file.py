"""Open regular files only: opening a named pipe blocks, and a device may never end."""

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
    """Open a regular file for reading; links are followed.

    The path is checked before and after it is opened. If a pipe replaces the file in between, opening does not block.

    Raises
    ------
    FileNotFoundError
        If the file does not exist, or the path is not valid.
    OSError
        If the path is not a regular file, or cannot be read.
    """
    try:
        check_regular(path, Path(path).stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no such file: {path}") from error
    except ValueError as error:  # NUL, or characters that the file system cannot encode
        raise FileNotFoundError(f"not a valid path: {path}") from error
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
    """Raise an error if ``mode``, the ``st_mode`` of a path, is not that of a regular file.

    Raises
    ------
    OSError
        If it is something else; the message says what.
    """
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise OSError(f"{path} is {kind}, not a file")


def path_exists(path: str | Path) -> bool:
    """Return whether a path exists; an invalid path does not."""
    try:
        Path(path).stat()
    except (OSError, ValueError):
        return False
    return True
