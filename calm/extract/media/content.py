"""What a clip is, whatever it is called: a digest of its bytes, and the size and time by which a change shows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from calm.extract.media.file import open_regular

_BLOCK = 2**20
#: Of a file more than twice as large, so much of its beginning and of its end is digested: a file may claim any size.
_LARGE = 2**27


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
        What a model is given of the clip, as :func:`calm.extract.media.decode.sources_of` tells it.

    Raises
    ------
    OSError
        If a file cannot be read, or is no regular file.
    """
    digest, size, modified = xxhash.xxh3_128(), 0, 0
    for source in sources:
        if isinstance(source, str | Path):
            with open_regular(source) as file:
                stat = os.fstat(file.fileno())
                _digest_file(file, stat.st_size, digest)
            size, modified = size + stat.st_size, max(modified, stat.st_mtime_ns)
        else:
            samples, rate = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
            array = np.ascontiguousarray(samples)
            digest.update(f"{array.dtype} {array.shape} {rate}".encode())
            digest.update(array.tobytes())
            size += array.nbytes
    return Content(digest.digest(), size, modified)


def _digest_file(file: BinaryIO, size: int, digest: xxhash.xxh3_128) -> None:
    """Digest a file's bytes; of one that is very large, its size, its beginning and its end."""
    spans = [(0, size)] if size <= 2 * _LARGE else [(0, _LARGE), (size - _LARGE, size)]
    if len(spans) > 1:
        digest.update(size.to_bytes(8, "little"))
    for begin, end in spans:
        file.seek(begin)
        while begin < end and (block := file.read(min(_BLOCK, end - begin))):
            digest.update(block)
            begin += len(block)


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


def current_content(known: Content, *sources: Any) -> Content:
    """Tell what a clip is made of now: what is known, where size and time are still those; the digest, where not.

    Of files that cannot be read, of samples, and where nothing was known, what is known is all there is to tell.
    """
    paths = [Path(source) for source in sources if isinstance(source, str | Path)]
    if not known.digest or not paths:
        return known
    try:
        stats = [path.stat() for path in paths]
        size, modified = sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)
        return known if (size, modified) == (known.size, known.modified) else content_of(*sources)
    except (OSError, ValueError):  # ValueError: of a path that none can be
        return known


def state_of(*sources: Any) -> list[tuple[Path, tuple[int, ...] | None]]:
    """Take down by what a file shows that it was replaced or written to; None where it is not there.

    The time of the last change of the inode is among it: that of the content can be set back.
    """
    return [(path, _state_of_file(path)) for path in map(Path, (s for s in sources if isinstance(s, str | Path)))]


def _state_of_file(path: Path) -> tuple[int, ...] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - twice for every clip, and three times as quick
    except (OSError, ValueError):  # ValueError: of a path that none can be
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
