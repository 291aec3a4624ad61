"""Write files atomically, through temporary files in the same folder; remove temporary files of killed processes."""

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

_SECONDS_PER_DAY = 24 * 3600.0
#: Create a new file. Fail if the path exists, even as a symbolic link.
_CREATE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
#: End of a temporary file's name: machine, process id, random hexadecimal digits. Earlier versions of calm wrote the
#: process id only.
_TEMPORARY_SUFFIX = re.compile(r"\.(?:([A-Za-z0-9-]+)\.)?([0-9]+)(?:\.[0-9a-f]{8})?\.part")


@dataclass(frozen=True)
class AtomicFile:
    """Temporary file that takes its final name when its content is complete.

    Attributes
    ----------
    path : Path
        Path of the temporary file.
    file : BinaryIO
        The temporary file, open for reading and writing.
    """

    path: Path
    file: BinaryIO

    def check(self) -> None:
        """Check that the path still leads to this file; call it before any use of the path.

        Raises
        ------
        FileNotFoundError
            If the path does not exist any more.
        OSError
            If the path leads to another file.
        """
        if not os.path.samestat(self.path.lstat(), os.fstat(self.file.fileno())):
            raise OSError(f"another process replaced {self.path} while it was being written: run the command again")

    def replace(self, path: Path) -> None:
        """Rename the temporary file to ``path``; an existing file is replaced.

        Raises
        ------
        OSError
            If the file cannot be renamed, or its path does not lead to it any more.
        """
        self.file.flush()
        self.check()
        self.path.replace(path)


@contextmanager
def create_atomic_file(path: Path) -> Iterator[AtomicFile]:
    """Create a hidden temporary file next to ``path``, and first remove those that killed processes left behind.

    The name of the temporary file contains the machine, the process and a random part. It is always a new file: no
    existing file is opened and no symbolic link is followed. A temporary file of another process is removed if that
    process is gone, or, if it runs on another machine, if the file has not changed for a day.

    Parameters
    ----------
    path : Path
        Final path. Rename the temporary file to it with :meth:`AtomicFile.replace`.

    Yields
    ------
    AtomicFile
        The temporary file, empty. It is removed at the end unless it has been renamed.

    Raises
    ------
    OSError
        If the temporary file cannot be created.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with create_atomic_file(Path(folder, "heads.h5")) as temporary:
    ...         _ = temporary.file.write(b"content")
    ...         temporary.replace(Path(folder, "heads.h5"))
    ...     os.listdir(folder)
    ['heads.h5']
    """
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if _is_stale(other, path.name):
            with suppress(OSError):  # it belongs to another user, and does no harm
                other.unlink()
    temporary_path = path.with_name(f".{path.name}.{_machine_id()}.{os.getpid()}.{secrets.token_hex(4)}.part")
    with os.fdopen(os.open(temporary_path, _CREATE_FLAGS, 0o666), "w+b") as file:
        temporary = AtomicFile(temporary_path, file)
        try:
            yield temporary
        finally:
            with suppress(OSError):  # it has been renamed, or another process replaced it
                temporary.check()
                temporary_path.unlink()


def check_writable_folder(path: Path) -> None:
    """Check that a file can be created in the folder of ``path``, before any long work; leave nothing behind.

    Parameters
    ----------
    path : Path
        Path of the file to write.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    OSError
        If no file can be created in the folder.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path.name}: folder {path.parent} does not exist")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise type(error)(f"cannot write into {path.parent}: {error.strerror}") from error


@cache
def _machine_id() -> str:
    """Return an id of the machine and its PID namespace: containers on one machine number processes independently."""
    host = socket.gethostname()
    try:
        pid_namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        pid_namespace = 0
    return f"{re.sub(r'[^A-Za-z0-9-]', '-', host)[:16]}-{zlib.crc32(f'{host}/{pid_namespace}'.encode()):08x}"


def _is_stale(path: Path, final_name: str) -> bool:
    """Return whether a path is a temporary file of ``final_name`` that no process is writing any more."""
    suffix = _TEMPORARY_SUFFIX.fullmatch(path.name.removeprefix(f".{final_name}"))
    if suffix is None:
        return False
    try:
        status = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode):
        return False
    machine, process_id = suffix.groups()
    if machine is None:  # earlier versions of calm named no machine, and removed all such files
        return True
    if machine == _machine_id():
        return not _is_running(int(process_id), status.st_mtime)
    return time.time() - status.st_mtime > _SECONDS_PER_DAY


def _is_running(process_id: int, modified: float) -> bool:
    """Return whether the process that modified a file is still running; its id may belong to a new process by now."""
    import psutil

    try:
        process = psutil.Process(process_id)
        # A process that started after the modification is another one. A day allows for a clock that has been set.
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < modified + _SECONDS_PER_DAY
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it exists, but belongs to another user
        return True
