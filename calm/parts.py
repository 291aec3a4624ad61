"""Files that are written under another name until they are whole, and clearing what killed processes left of them."""

from __future__ import annotations

import glob
import os
import re
import socket
import tempfile
import time
import zlib
from functools import cache
from pathlib import Path

_DAY = 24 * 3600.0


def part_beside(path: Path) -> Path:
    """Name a file to write ``path`` in until it is whole, and remove what is left there of killed processes.

    The name tells machine and process. A part is removed if its process is gone; if it is of another machine, when
    nothing has been written to it for a day.

    Parameters
    ----------
    path : Path
        What the part will be renamed to.

    Returns
    -------
    Path
        In the same folder; hidden. Nothing is made yet.

    Examples
    --------
    >>> part_beside(Path("heads.h5")).name == f".heads.h5.{_machine()}.{os.getpid()}.part"
    True
    """
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if _is_left_over(part, path.name):
            part.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{_machine()}.{os.getpid()}.part")


def check_folder(path: Path) -> None:
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
    written_by = re.fullmatch(r"\.(?:([A-Za-z0-9-]+)\.)?(\d+)\.part", part.name.removeprefix(f".{name}"))
    if written_by is None:
        return False
    machine, process = written_by.groups()
    if machine is None:  # of a calm that named no machine, and removed all that it found
        return True
    try:
        written = part.stat().st_mtime
    except OSError:
        return False
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
