"""Files that libsndfile reads, from their beginning to their end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from calm.extract.media.file import open_regular
from calm.extract.media.libraries import library_call
from calm.extract.media.sound import Sound

#: Samples of all channels that are decoded at once, whatever a file claims to hold: it may claim a thousand channels.
_BLOCK = 2**15


class _Forwards(soundfile.SoundFile):
    """A file that is read forwards only.

    Several kinds cannot seek (GSM 6.10, G.721, NMS ADPCM), or say that they can and then cannot (DWVW); soundfile seeks
    after each block in those that can.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def opened(path: Path, failure: type[ValueError]) -> Iterator[Sound]:
    """Open a file; formats without a header, of which nothing can be known, are not readable.

    Raises
    ------
    OSError
        If it is no regular file, or may not be read.
    failure
        If libsndfile cannot read it.
    """
    what = "not readable as audio"
    with open_regular(path) as stream:
        with library_call(failure, what):
            file = _Forwards(stream.fileno(), closefd=False)
        with file:
            yield Sound(file.samplerate, file.frames / max(file.samplerate, 1), _blocks(file, failure, what))


def _blocks(file: _Forwards, failure: type[ValueError], what: str) -> Iterator[NDArray[np.float32]]:
    frames = max(1, _BLOCK // file.channels)
    while True:
        with library_call(failure, what):
            block = file.read(frames, dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        yield block
