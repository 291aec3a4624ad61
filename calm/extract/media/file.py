"""Open regular files only: opening a named pipe blocks, and a device may never end. Recognize URLs, expand ``~``."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

#: A URL, or a URL that was turned into a path: ``Path`` drops one of the two slashes.
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/{1,2}(?=[^/])(?P<rest>.*)", re.IGNORECASE | re.DOTALL)

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
        raise FileNotFoundError(describe_missing(path)) from error
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


def is_url(path: str | Path) -> bool:
    """Return whether a path is a URL.

    Examples
    --------
    >>> is_url("https://example.org/a.wav"), is_url("s3://bucket/a.wav"), is_url("C:/a.wav"), is_url("data/a.wav")
    (True, True, False, False)
    """
    return _URL.match(str(path)) is not None


def describe_missing(path: str | Path, what: str = "file") -> str:
    """Describe a path that does not exist; a URL is written with both slashes.

    Examples
    --------
    >>> describe_missing(Path("https://example.org/a.wav"))
    'URLs are not read: download https://example.org/a.wav first'
    >>> describe_missing("a.wav")
    'no such file: a.wav'
    """
    url = _URL.match(str(path))
    if url is not None:
        return f"URLs are not read: download {url['scheme']}://{url['rest']} first"
    return f"no such {what}: {path}"


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Expand ``~`` at the start of a path to the home folder; an unknown user's ``~name`` stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises an error for an unknown user


def identify_file(path: str | Path) -> tuple[int, int] | str:
    """Return what identifies a file independently of its path: device and inode number; its path if it is missing.

    Examples
    --------
    >>> identify_file("no/such/../file.wav") == identify_file("no/file.wav")
    True
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - called once per clip, and three times as fast as Path.stat
    except (OSError, ValueError):  # ValueError: an invalid path
        return os.path.abspath(path)  # noqa: PTH100
    if status.st_ino == 0:  # some network file systems have no inode numbers
        return os.path.realpath(path)
    return status.st_dev, status.st_ino
