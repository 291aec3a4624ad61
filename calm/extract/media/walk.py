"""List the files below a folder; links are followed without endless loops."""

from __future__ import annotations

import os
import stat
import warnings
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

#: Device and inode number, which identify a folder independently of its path.
_Identity = tuple[int, int]


def list_files_below(folder: Path, suffixes: Collection[str], split_folders: Collection[Path] = ()) -> list[Path]:
    """List regular files with given suffixes, in order of path; links to files and folders are followed.

    A class folder is a folder in ``folder``, or in one of ``split_folders``. Three rules keep links from looping:

    - A link to one of its own parent folders is not followed.
    - Within a class folder, each real folder is visited once, under its own name if it has one there. Crossing links
      therefore cannot multiply.
    - Two class folders that are links to the same folder are both listed.

    Hidden files and folders, pipes, sockets and devices are skipped. A broken link is listed if its own suffix matches,
    so that it is reported later. A folder that cannot be listed is skipped with a warning.

    Parameters
    ----------
    folder : path
        The folder to search.
    suffixes : collection of str
        Suffixes in lower case, with their dots.
    split_folders : collection of path
        Folders in ``folder`` that contain class folders.
    """
    files: list[Path] = []
    parents = {_identity(folder.stat())}
    for entry in _list_entries(folder):
        files.extend(_find_files_in_class(entry, suffixes, parents, split=Path(entry.path) in set(split_folders)))
    return sorted(files)


def _find_files_in_class(
    entry: os.DirEntry[str], suffixes: Collection[str], parents: Collection[_Identity], *, split: bool
) -> Iterator[Path]:
    """Yield the files of one entry: a class folder, a split folder with class folders, or a single file."""
    visited, waiting, links = set(parents), deque([entry]), deque[os.DirEntry[str]]()
    while waiting or links:
        current = (waiting or links).popleft()  # links last: their targets may have their own names here
        status = _read_status(current)
        if status is None or not stat.S_ISDIR(status.st_mode):
            if _is_wanted(current, status, suffixes):
                yield Path(current.path)
        elif _identity(status) not in visited and not _is_link_to_parent(current):
            visited.add(_identity(status))
            for child in _list_entries(current.path):
                if split and current is entry:
                    yield from _find_files_in_class(child, suffixes, visited, split=False)
                else:
                    (links if child.is_symlink() else waiting).append(child)


def _list_entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        warnings.warn(f"cannot list the files of {folder}, which is skipped: {error.strerror}", stacklevel=2)
        return []


def _read_status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of an entry or of its target; None for a broken link."""
    try:
        return entry.stat()
    except OSError:
        return None


def _is_wanted(entry: os.DirEntry[str], status: os.stat_result | None, suffixes: Collection[str]) -> bool:
    return (status is None or stat.S_ISREG(status.st_mode)) and Path(entry.name).suffix.lower() in suffixes


def _is_link_to_parent(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return False
    parent, target = Path(os.path.realpath(Path(entry.path).parent)), Path(os.path.realpath(entry.path))
    return parent.is_relative_to(target)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
