"""Files below a folder, through links too, without going round in circles."""

from __future__ import annotations

import os
import stat
import warnings
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

#: What tells a real folder from all others: its device and number.
_Identity = tuple[int, int]


def files_below(folder: Path, suffixes: Collection[str], split_folders: Collection[Path] = ()) -> list[Path]:
    """List regular files by suffix, in order of path; links to files and folders are followed.

    A link to a folder above itself is not entered. Within one class folder (one in ``folder``, or in a folder of
    ``split_folders``) each real folder is entered once, under its own name if it has one there: links that cross one
    another cannot multiply. Two class folders that are links to one folder are both listed.

    Hidden files and folders are passed over, and so are pipes, sockets and devices. A link to nowhere is listed if it
    is called like a file that is looked for, so that it is reported; otherwise it is passed over. A folder that may not
    be looked into is passed over with a warning.

    Parameters
    ----------
    folder : path
    suffixes : collection of str
        In lower case, with their dots.
    split_folders : collection of path
        Folders in ``folder`` that hold class folders of their own.
    """
    found: list[Path] = []
    above = {_identity(folder.stat())}
    for entry in _entries(folder):
        found.extend(_files_in_class(entry, suffixes, above, split=Path(entry.path) in set(split_folders)))
    return sorted(found)


def _files_in_class(
    entry: os.DirEntry[str], suffixes: Collection[str], above: Collection[_Identity], *, split: bool
) -> Iterator[Path]:
    """Yield files of a class folder, or of all those in the folder of a split; or what is a file itself."""
    entered, waiting, links = set(above), deque([entry]), deque[os.DirEntry[str]]()
    while waiting or links:
        current = (waiting or links).popleft()  # links last: what they lead to may have a name of its own here
        status = _status(current)
        if status is None or not stat.S_ISDIR(status.st_mode):
            if _is_wanted(current, status, suffixes):
                yield Path(current.path)
        elif _identity(status) not in entered and not _leads_above_itself(current):
            entered.add(_identity(status))
            for below in _entries(current.path):
                if split and current is entry:
                    yield from _files_in_class(below, suffixes, entered, split=False)
                else:
                    (links if below.is_symlink() else waiting).append(below)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        warnings.warn(f"{folder} cannot be looked into: {error.strerror}", stacklevel=2)
        return []


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return what an entry is, or leads to; None for a link to nowhere, or to itself."""
    try:
        return entry.stat()
    except OSError:
        return None


def _is_wanted(entry: os.DirEntry[str], status: os.stat_result | None, suffixes: Collection[str]) -> bool:
    return (status is None or stat.S_ISREG(status.st_mode)) and Path(entry.name).suffix.lower() in suffixes


def _leads_above_itself(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return False
    place, target = Path(os.path.realpath(Path(entry.path).parent)), Path(os.path.realpath(entry.path))
    return place.is_relative_to(target)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
