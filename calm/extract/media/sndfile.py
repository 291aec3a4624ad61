"""Read audio files with libsndfile."""

from __future__ import annotations

import os
import re
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

#: Line of libsndfile's log about audio data that is shorter than the header declares, in WAV, AU and AIFF files.
_WRONG_SIZE = re.compile(r"^ *(?:data|Data Size|SSND) *: (\d+) \(should be (\d+)\)", re.MULTILINE)

#: Programs that write to a pipe declare about this many bytes or more, because they do not know the length.
_UNKNOWN_SIZE = 0x7FFF0000

#: Where the Xing header of an MP3 file is searched. A large picture in front of it hides it: the length then counts as
#: an estimate.
_MP3_HEAD_BYTES = 2**16


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
            seconds = _declared_frames(file) / max(file.samplerate, 1)
            yield Sound(file.samplerate, seconds, _read_blocks(file, failure), _has_exact_length(file, stream.fileno()))


def _declared_frames(file: _ForwardOnlyFile) -> float:
    """Return the number of frames that the header declares.

    For a truncated WAV, AIFF or AU file, libsndfile reports only the frames that are there, and logs the size that the
    header declares.
    """
    logged = _WRONG_SIZE.search(file.extra_info)
    if logged is None:
        return file.frames
    declared_bytes, available_bytes = map(int, logged.groups())
    if not 0 < available_bytes < declared_bytes < _UNKNOWN_SIZE:
        return file.frames
    return file.frames * declared_bytes / available_bytes


def _has_exact_length(file: _ForwardOnlyFile, descriptor: int) -> bool:
    """Return whether the length of a file is exact: libsndfile estimates that of an MP3 without a Xing header."""
    if file.format != "MP3":
        return True
    head = os.pread(descriptor, _MP3_HEAD_BYTES, 0)
    return b"Xing" in head or b"Info" in head


def _read_blocks(file: _ForwardOnlyFile, failure: type[ValueError]) -> Iterator[NDArray[np.float32]]:
    """Yield blocks (samples, channels) of float32, up to the end of the file."""
    frames = max(1, _BLOCK // file.channels)
    while True:
        with wrap_library_errors(failure, _NOT_READABLE):
            block = file.read(frames, dtype="float32", always_2d=True)
        if len(block) == 0:
            return
        yield block
