"""What a clip is, whatever it is called: a digest of its bytes, and the size and time by which a change shows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from calm.extract.media.file import open_regular

_BLOCK = 2**20


@dataclass(frozen=True)
class Content:
    """Identity of a clip's content.

    Examples
    --------
    >>> content_of(np.zeros(3)) == content_of(np.zeros(3)), content_of(np.zeros(3)) == content_of(np.ones(3))
    (True, False)
    """

    digest: bytes  #: 16 bytes, XXH3 of the files' bytes or the samples; empty where it is not known
    size: int = 0  #: in bytes, of all files
    modified: int = 0  #: time of the last change of any file, in nanoseconds; 0 for samples in memory


#: Of a clip that could not be read.
UNKNOWN = Content(b"")


def content_of(*sources: Any) -> Content:
    """Digest what a clip is made of.

    Parameters
    ----------
    *sources : path, array, or (array, rate)
        The clip's sound, and its video where that is a file of its own; None is passed over.

    Raises
    ------
    OSError
        If a file cannot be read, or is no regular file.
    """
    digest, size, modified = xxhash.xxh3_128(), 0, 0
    for source in sources:
        if source is None:
            continue
        if isinstance(source, str | Path):
            with open_regular(source) as file:
                stat = os.fstat(file.fileno())
                while block := file.read(_BLOCK):
                    digest.update(block)
            size, modified = size + stat.st_size, max(modified, stat.st_mtime_ns)
        else:
            samples, rate = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
            array = np.ascontiguousarray(samples)
            digest.update(f"{array.dtype} {array.shape} {rate}".encode())
            digest.update(array.tobytes())
            size += array.nbytes
    return Content(digest.digest(), size, modified)


def content_if_readable(*sources: Any) -> Content:
    """Digest what a clip is made of, also where it could not be used; ``UNKNOWN`` where not all of it can be read.

    Examples
    --------
    >>> content_if_readable("nowhere.wav") == UNKNOWN
    True
    """
    try:
        return content_of(*sources)
    except (OSError, ValueError):  # ValueError: numpy's, of lists that are no array
        return UNKNOWN


def has_changed(known: Content, *sources: Any) -> bool:
    """Tell whether a clip's files hold something else than before: size and time first, the digest where those moved.

    A file that cannot be read, or whose content was never known, counts as unchanged.
    """
    paths = [Path(source) for source in sources if isinstance(source, str | Path)]
    if not known.digest or not paths:
        return False
    try:
        stats = [path.stat() for path in paths]
        size, modified = sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)
        if (size, modified) == (known.size, known.modified):
            return False
        return content_of(*sources).digest != known.digest
    except (OSError, ValueError):  # ValueError: of a path that none can be
        return False
