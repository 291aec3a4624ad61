"""Containers of sound and pictures (mp4, mkv, webm …): frames at a steady rate, and the sound that goes with them.

Both count time from the beginning of the container, so that what is heard and what is seen at one moment stay together
where one of the streams begins later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.media.decoded_clip import DecodedClip
from calm.extract.media.file import open_regular
from calm.extract.media.libraries import library_call
from calm.extract.media.sound import Sound

#: Files that hold pictures.
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv", ".3gp")
)

#: Files whose sound libsndfile does not read.
CONTAINER_SUFFIXES = VIDEO_SUFFIXES | frozenset((".m4a", ".aac", ".wma", ".mka"))

#: Encoders take no pictures that are so many times as long as wide.
_MOST_ASPECT = 200

#: Height × width of a picture that is decoded: twice that of 8K, the largest that films have.
_MOST_PIXELS = 2**26

#: Of all frames that are taken of one film.
_MOST_BYTES = 2**31

#: Samples of silence at once.
_SILENCE = 2**16

_NOT_READABLE = "not readable"

#: A file with pictures; or frames ``(frames, height, width, 3)`` of uint8, with how many there are in a second.
VideoSource = str | Path | tuple[NDArray[np.uint8], float]


class VideoError(ValueError):
    """A clip whose pictures or sound cannot be used; the message says why."""


def is_rate(value: Any) -> bool:
    """Tell whether something is a finite number above 0; True is none.

    Examples
    --------
    >>> is_rate(8000), is_rate(np.float32(2)), is_rate(0), is_rate(math.nan), is_rate("8000"), is_rate(True)
    (True, True, False, False, False, False)
    """
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf
    except OverflowError:  # an integer that no float holds
        return False


def require_av() -> Any:
    """Import PyAV.

    Raises
    ------
    ImportError
        Naming the extra.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("files with pictures, m4a, aac and wma need PyAV: pip install 'calm-audio[video]'") from error
    return av


def read_frames(video: VideoSource, fps: float, max_pixels: int, max_seconds: float | None = None) -> DecodedClip:
    """Take frames at a steady rate: at ``k / fps`` seconds, what is shown then.

    Parameters
    ----------
    video : path, or (array, rate)
        Any file that FFmpeg reads; or frames ``(frames, height, width, 3)`` of uint8 with their own rate.
    fps : float
        Frames a second of the answer. Of a slower video, frames come several times.
    max_pixels : int
        Larger frames are made smaller, their shape kept.
    max_seconds : float, default=None
        Keep only the beginning. Of a longer file no more than that is decoded.

    Returns
    -------
    DecodedClip
        Without samples.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is no regular file, or may not be read.
    VideoError
        If it cannot be read, there are no pictures in it, or they take too much memory.

    Examples
    --------
    Three seconds at 10 frames a second, of which two a second are wanted:

    >>> frames = np.zeros((30, 48, 64, 3), dtype=np.uint8)
    >>> read_frames((frames, 10.0), fps=2.0, max_pixels=768).frames.shape
    (6, 24, 32, 3)
    """
    try:
        if not isinstance(video, str | Path):
            array, rate = _checked(video)
            return _taken(_in_memory(array, rate), len(array) / rate, fps, max_pixels, max_seconds)
        with _opened(Path(video)) as container:
            if not container.streams.video:
                raise VideoError("no pictures in it")
            if container.streams.video[0].codec_context is None:
                raise VideoError("there is no decoder for its pictures")
            return _taken(_shown(container), declared_duration(container), fps, max_pixels, max_seconds)
    except MemoryError as error:
        raise VideoError("memory does not suffice for it") from error


def _checked(video: Any) -> tuple[NDArray[np.uint8], float]:
    if not isinstance(video, tuple) or len(video) != 2:
        raise VideoError("expected a file, or frames with their rate")
    array, rate = np.asarray(video[0]), video[1]
    if not is_rate(rate):
        raise VideoError(f"{rate!r} frames a second; expected more than none")
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise VideoError(f"frames {array.shape} of {array.dtype}; expected (frames, height, width, 3) of uint8")
    if array.size == 0:
        raise VideoError("no pictures in it")
    return array, float(rate)


def _in_memory(array: NDArray[np.uint8], rate: float) -> Iterator[tuple[float, float, Any]]:
    as_frame = require_av().VideoFrame.from_ndarray
    for i, picture in enumerate(array):
        with library_call(VideoError, _NOT_READABLE):
            frame = as_frame(picture, "rgb24")
        yield i / rate, (i + 1) / rate, frame


def _taken(
    shown: Iterator[tuple[float, float, Any]], seconds: float, fps: float, max_pixels: int, max_seconds: float | None
) -> DecodedClip:
    """Go through frames in order of time, and keep the one that is shown at each moment wanted."""
    limit = math.inf if max_seconds is None else max_seconds
    pictures: list[NDArray[np.uint8]] = []
    current: Any = None  # shown until the next one is
    end, size = 0.0, (0, 0)

    def take_until(time: float) -> None:
        picture = None
        until = min(time, limit)
        if until * fps * size[0] * size[1] * 3 > _MOST_BYTES:  # times are the file's own
            raise VideoError("pictures that take more than 2 GiB: set max_seconds")
        while len(pictures) / fps < until - 1e-6:
            picture = _as_array(current, size) if picture is None else picture
            if pictures and picture.shape != pictures[0].shape:
                raise VideoError("pictures that are turned on their way")
            pictures.append(picture)

    for begin, until, frame in shown:
        if current is None:
            size = _fitting(frame, max_pixels)  # of all frames: some broadcasts change it on their way
        else:
            take_until(begin)
        current, end = frame, until
        if begin >= limit:
            break
    if current is not None:
        take_until(end)
    if not pictures:
        raise VideoError("no pictures in it")
    return DecodedClip(None, np.stack(pictures), max(seconds, end))


def _shown(container: Any) -> Iterator[tuple[float, float, Any]]:
    """Decode frames, with the times in seconds from and until which each is shown."""
    stream = container.streams.video[0]
    with library_call(VideoError, _NOT_READABLE):
        stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(_MOST_PIXELS)}
        begin, rate = _begin(container), float(stream.average_rate or 25)
    for number, frame in enumerate(_decoded(container, stream)):
        with library_call(VideoError, _NOT_READABLE):
            time = number / rate if frame.time is None else float(frame.time) - begin
            lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / rate
        yield time, time + lasts, frame


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    with library_call(VideoError, _NOT_READABLE):
        frames = iter(container.decode(stream))
    while True:
        with library_call(VideoError, _NOT_READABLE):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _fitting(frame: Any, max_pixels: int) -> tuple[int, int]:
    """Return height and width of a frame, made smaller where it has too many pixels."""
    height, width = frame.height, frame.width
    if max(height, width) > _MOST_ASPECT * min(height, width):
        raise VideoError(f"pictures of {width} × {height}: too long for their width")
    if not 0 < height * width <= _MOST_PIXELS:
        raise VideoError(f"pictures of {width} × {height}: larger than any film's")
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def _as_array(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    with library_call(VideoError, _NOT_READABLE):
        smaller = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
        picture, turns = smaller.to_ndarray(), round(frame.rotation / 90)
    # Telephones write how the picture has to be turned, counterclockwise, beside it.
    return np.ascontiguousarray(np.rot90(picture, turns))


@contextmanager
def opened_sound(path: Path) -> Iterator[Sound]:
    """Open the sound of a container; where it begins after the pictures, silence comes first.

    Raises
    ------
    OSError
        If it is no regular file, or may not be read.
    VideoError
        If it cannot be read, or there is no sound in it; while blocks are taken too.
    """
    with _opened(path) as container:
        if not container.streams.audio:
            raise VideoError("no sound in it")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise VideoError("there is no decoder for its sound")
        with library_call(VideoError, _NOT_READABLE):
            rate, layout, channels = int(stream.rate), stream.layout.name, len(stream.layout.channels)
        yield Sound(rate, declared_duration(container), _sounding(container, stream, rate, layout, channels))


def _sounding(container: Any, stream: Any, rate: int, layout: str, channels: int) -> Iterator[NDArray[np.float32]]:
    """Decode sound, (samples, channels) a block, all of it as it began: broadcasts may change their format."""
    resamplers: dict[tuple[str, str, int], Any] = {}
    for number, frame in enumerate(_decoded(container, stream)):
        with library_call(VideoError, _NOT_READABLE):
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind not in resamplers:
                resamplers[kind] = require_av().AudioResampler(format="flt", layout=layout, rate=rate)
            blocks = [block.to_ndarray().reshape(block.samples, -1) for block in resamplers[kind].resample(frame)]
            begins = None if frame.time is None else float(frame.time) - _begin(container)
        if number == 0 and begins is not None:
            yield from _silence(min(begins, declared_duration(container) or math.inf) * rate, channels)
        yield from blocks


def _silence(samples: float, channels: int) -> Iterator[NDArray[np.float32]]:
    """Yield silence in blocks: how much of it there is, the file says."""
    left = round(max(0.0, samples))
    while left > 0:
        yield np.zeros((min(left, _SILENCE), channels), dtype=np.float32)
        left -= _SILENCE


def container_duration(path: Path) -> float:
    """Tell how long a container is by its header alone; 0 where that cannot be told.

    Raises
    ------
    OSError
        If it is no regular file, or may not be read.
    VideoError
        If it cannot be read.
    """
    with _opened(path) as container:
        return declared_duration(container)


def declared_duration(container: Any) -> float:
    """Tell how long an open container says that it is; 0 where it does not say."""
    return 0.0 if container.duration is None else max(0.0, container.duration / 1e6)


def _begin(container: Any) -> float:
    return 0.0 if container.start_time is None else container.start_time / 1e6


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a container by a descriptor of its file, and let it open nothing else.

    FFmpeg would open what a file names: playlists and lists of parts lead to other files, pipes and the network.
    """
    av = require_av()
    with open_regular(path) as stream:
        only_this = {"fd": str(stream.fileno()), "protocol_whitelist": "fd", "max_pixels": str(_MOST_PIXELS)}
        with library_call(VideoError, _NOT_READABLE):
            container = av.open("fd:", options=only_this, metadata_errors="replace")
        with container:
            yield container
