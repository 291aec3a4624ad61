"""Identify the content of a clip independently of its name: a digest, and the size and time that reveal a change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from calm.extract.media.file import open_regular

_BLOCK = 2**20
#: If a file is more than twice this size, only this many bytes of its start and of its end are hashed: a sparse file
#: may claim any size.
_LARGE = 2**27


@dataclass(frozen=True)
class Content:
    """Digest, size and modification time of the files or samples of a clip.

    Examples
    --------
    >>> zeros = compute_content(np.zeros(3))
    >>> zeros == compute_content(np.zeros(3)), zeros == compute_content(np.ones(3))
    (True, False)
    """

    digest: bytes  #: 16 bytes, XXH3 of the files or samples; empty where it is unknown
    size: int = 0  #: total size in bytes
    modified: int = 0  #: latest modification time of the files in nanoseconds; 0 for arrays


#: The content of a clip that could not be read.
UNKNOWN = Content(b"")


def compute_content(*sources: Any) -> Content:
    """Compute the digest, size and modification time of files and arrays.

    Parameters
    ----------
    *sources : path, array, or (array, rate)
        What the model needs of a clip, from :func:`calm.extract.media.decode.select_sources`.

    Raises
    ------
    OSError
        If a file cannot be read, or is not a regular file.
    """
    digest, size, modified = xxhash.xxh3_128(), 0, 0
    for source in sources:
        if isinstance(source, str | Path):
            with open_regular(source) as file:
                stat = os.fstat(file.fileno())
                _hash_file(file, stat.st_size, digest)
            size, modified = size + stat.st_size, max(modified, stat.st_mtime_ns)
        else:
            samples, rate = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
            array = np.ascontiguousarray(samples)
            digest.update(f"{array.dtype} {array.shape} {rate}".encode())
            digest.update(array.tobytes())
            size += array.nbytes
    return Content(digest.digest(), size, modified)


def _hash_file(file: BinaryIO, size: int, digest: xxhash.xxh3_128) -> None:
    """Hash a file; of a very large file, only its size, its start and its end."""
    spans = [(0, size)] if size <= 2 * _LARGE else [(0, _LARGE), (size - _LARGE, size)]
    if len(spans) > 1:
        digest.update(size.to_bytes(8, "little"))
    for begin, end in spans:
        file.seek(begin)
        while begin < end and (block := file.read(min(_BLOCK, end - begin))):
            digest.update(block)
            begin += len(block)


def compute_content_if_readable(*sources: Any) -> Content:
    """Compute the content of a clip that failed; ``UNKNOWN`` if a file cannot be read.

    Examples
    --------
    >>> compute_content_if_readable("nowhere.wav") == UNKNOWN
    True
    """
    try:
        return compute_content(*sources)
    except (OSError, ValueError):  # ValueError: from numpy, for lists that do not form an array
        return UNKNOWN


def current_content(known: Content, *sources: Any) -> Content:
    """Return the present content of a clip; files are hashed only if their size or modification time changed.

    ``known`` is returned if nothing changed, if a file cannot be read, if there are only arrays, or if ``known`` has no
    digest.
    """
    paths = [Path(source) for source in sources if isinstance(source, str | Path)]
    if not known.digest or not paths:
        return known
    try:
        stats = [path.stat() for path in paths]
        size, modified = sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)
        return known if (size, modified) == (known.size, known.modified) else compute_content(*sources)
    except (OSError, ValueError):  # ValueError: an invalid path
        return known


def read_file_states(*sources: Any) -> list[tuple[Path, tuple[int, ...] | None]]:
    """Read what reveals that a file was replaced or written to, for each path; None where there is no file.

    This includes the inode change time, because the modification time can be set back.
    """
    paths = [Path(source) for source in sources if isinstance(source, str | Path)]
    return [(path, _read_file_state(path)) for path in paths]


def _read_file_state(path: Path) -> tuple[int, ...] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - called twice per clip, and three times as fast as Path.stat
    except (OSError, ValueError):  # ValueError: an invalid path
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
