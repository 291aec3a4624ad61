"""Read audio files with libsndfile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from calm.extract.media.file import open_regular
from calm.extract.media.libraries import wrap_library_errors
from calm.extract.media.sound import Sound

#: Samples decoded at a time, over all channels: a header may claim a thousand channels.
_BLOCK = 2**15

_NOT_READABLE = "not readable as audio"


class _ForwardOnlyFile(soundfile.SoundFile):
    """An audio file that soundfile reads without seeking.

    soundfile seeks after each block where a file can. Some formats cannot (GSM 6.10, G.721, NMS ADPCM), and DWVW
    claims that it can and then fails.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def open_sound(path: Path, failure: type[ValueError]) -> Iterator[Sound]:
    """Open an audio file; formats without a header are not readable.

    Raises
    ------
    OSError
        If the path is not a regular file, or cannot be read.
    failure
        If libsndfile cannot read it.
    """
    with open_regular(path) as stream:
        with wrap_library_errors(failure, _NOT_READABLE):
            file = _ForwardOnlyFile(stream.fileno(), closefd=False)
        with file:
            yield Sound(file.samplerate, file.frames / max(file.samplerate, 1), _read_blocks(file, failure))


def _read_blocks(file: _ForwardOnlyFile, failure: type[ValueError]) -> Iterator[NDArray[np.float32]]:
    """Yield blocks (samples, channels) of float32, up to the end of the file."""
    frames = max(1, _BLOCK // file.channels)
    while True:
        with wrap_library_errors(failure, _NOT_READABLE):
            block = file.read(frames, dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        yield block
