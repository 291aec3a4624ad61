"""Files that are written under another name until they are whole, and clearing what killed processes left of them."""

from __future__ import annotations

import glob
import os
import re
import secrets
import socket
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

_DAY = 24 * 3600.0
#: A new file, whatever lies there. A link is something that does.
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
#: What a part's name says after the file's: machine, process, and what nobody foresees. Earlier ones said less.
_OF_PART = re.compile(r"\.(?:([A-Za-z0-9-]+)\.)?([0-9]+)(?:\.[0-9a-f]{8})?\.part")


@dataclass(frozen=True)
class AtomicFile:
    """A file that is written under another name until it is whole."""

    path: Path  #: where it lies until then
    file: BinaryIO  #: open for reading and writing

    def check(self) -> None:
        """See that the file is still where it was made, before anything is done to it by its path.

        Raises
        ------
        FileNotFoundError
            If it is gone.
        OSError
            If something else lies there.
        """
        if not os.path.samestat(self.path.lstat(), os.fstat(self.file.fileno())):
            raise OSError(f"another file has taken the place of {self.path}: run this again")

    def replace(self, path: Path) -> None:
        """Give the file the name that it was made for, in the place of what was called so.

        Raises
        ------
        OSError
            If it cannot be renamed, or is not there any more.
        """
        self.file.flush()
        self.check()
        self.path.replace(path)


@contextmanager
def create_atomic_file(path: Path) -> Iterator[AtomicFile]:
    """Make a file to write ``path`` in until it is whole, and remove what is left there of killed processes.

    The name tells machine and process, and cannot be foreseen. Nothing that is there already is opened, and no link is
    followed. A part is removed if its process is gone; if it is of another machine, when nothing has been written to it
    for a day.

    Parameters
    ----------
    path : Path
        What the part will be renamed to.

    Yields
    ------
    Part
        In the same folder; hidden, empty. Removed in the end, unless it was renamed.

    Raises
    ------
    OSError
        If it cannot be made.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with create_atomic_file(Path(folder, "heads.h5")) as part:
    ...         _ = part.file.write(b"all of it")
    ...         part.replace(Path(folder, "heads.h5"))
    ...     os.listdir(folder)
    ['heads.h5']
    """
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if _is_left_over(old, path.name):
            with suppress(OSError):  # somebody else's; it is in nobody's way
                old.unlink()
    new = path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.{secrets.token_hex(4)}.part")
    with os.fdopen(os.open(new, _NEW, 0o666), "w+b") as file:
        part = AtomicFile(new, file)
        try:
            yield part
        finally:
            with suppress(OSError):  # renamed, or not ours any more
                part.check()
                new.unlink()


def check_writable_folder(path: Path) -> None:
    """Find out whether a file can be made, before work is done for it. Nothing is left there.

    Parameters
    ----------
    path : Path
        What is to be written.

    Raises
    ------
    FileNotFoundError
        If its folder is not there.
    OSError
        If nothing can be written into it.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder to write {path.name} into: {path.parent}")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise type(error)(f"cannot write into {path.parent}: {error.strerror}") from error


@cache
def _machine() -> str:
    """Tell machines apart on a shared folder, and containers on one machine: each counts processes of its own."""
    host = socket.gethostname()
    try:
        processes = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        processes = 0
    return f"{re.sub(r'[^A-Za-z0-9-]', '-', host)[:16]}-{zlib.crc32(f'{host}/{processes}'.encode()):08x}"


def _is_left_over(part: Path, name: str) -> bool:
    written_by = _OF_PART.fullmatch(part.name.removeprefix(f".{name}"))
    if written_by is None:
        return False
    try:
        there = part.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(there.st_mode):
        return False
    machine, process = written_by.groups()
    if machine is None:  # of a calm that named no machine, and removed all that it found
        return True
    written = there.st_mtime
    return not _lives(int(process), written) if machine == _machine() else time.time() - written > _DAY


def _lives(process: int, at: float) -> bool:
    """Tell whether a process lives that was there at a time; its number may have gone to another since."""
    import psutil

    try:
        found = psutil.Process(process)
        # Clocks may have been set since, but hardly by a day.
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() < at + _DAY
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, but not ours to ask
        return True
