"""Containers of sound and pictures (mp4, mkv, webm …): frames at a steady rate, and the sound that goes with them.

Both count time from the beginning of the container, so that what is heard and what is seen at one moment stay together
where one of the streams begins later.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Files that hold pictures.
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv", ".3gp")
)

#: Files whose sound libsndfile does not read.
CONTAINER_SUFFIXES = VIDEO_SUFFIXES | frozenset((".m4a", ".aac", ".wma", ".mka"))

#: Encoders take no pictures that are so many times as long as wide.
_MOST_ASPECT = 200

#: A file with pictures; or frames ``(frames, height, width, 3)`` of uint8, with how many there are in a second.
VideoSource = str | Path | tuple[NDArray[np.uint8], float]


class VideoError(ValueError):
    """A clip whose pictures or sound cannot be used; the message says why."""


@dataclass(frozen=True)
class Frames:
    """A clip as a model sees it."""

    pictures: NDArray[np.uint8]  #: (frames, height, width, 3), RGB
    seconds: float  #: length of the recording before any cut


def need_av() -> Any:
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


def read_frames(video: VideoSource, fps: float, max_pixels: int, max_seconds: float | None = None) -> Frames:
    """Take frames at a steady rate: at ``k / fps`` seconds, what is shown then.

    Parameters
    ----------
    video : path, or (array, rate)
        Any file that FFmpeg reads; or frames ``(frames, height, width, 3)`` of uint8 with their own rate.
    fps : float
        Frames a second of the answer. Of a slower video, frames come several times.
    max_pixels : int
        Larger frames are made smaller, their shape kept.
    max_seconds : float, optional
        Keep only the beginning. Of a longer file no more than that is decoded.

    Returns
    -------
    Frames

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    VideoError
        If it cannot be read, or there are no pictures in it.

    Examples
    --------
    Three seconds at 10 frames a second, of which two a second are wanted:

    >>> frames = np.zeros((30, 48, 64, 3), dtype=np.uint8)
    >>> read_frames((frames, 10.0), fps=2.0, max_pixels=768).pictures.shape
    (6, 24, 32, 3)
    """
    if isinstance(video, str | Path):
        with _opened(Path(video)) as container:
            if not container.streams.video:
                raise VideoError("no pictures in it")
            if container.streams.video[0].codec_context is None:
                raise VideoError("there is no decoder for its pictures")
            return _taken(_shown(container), container_seconds(container), fps, max_pixels, max_seconds)
    array, rate = video
    if not rate > 0:
        raise VideoError(f"{rate!r} frames a second; expected more than none")
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise VideoError(f"frames {array.shape} of {array.dtype}; expected (frames, height, width, 3) of uint8")
    as_frame = need_av().VideoFrame.from_ndarray
    shown = ((i / rate, (i + 1) / rate, as_frame(frame, "rgb24")) for i, frame in enumerate(array))
    return _taken(shown, len(array) / rate, fps, max_pixels, max_seconds)


def _taken(
    shown: Iterator[tuple[float, float, Any]], seconds: float, fps: float, max_pixels: int, max_seconds: float | None
) -> Frames:
    """Go through frames in order of time, and keep the one that is shown at each moment wanted."""
    limit = math.inf if max_seconds is None else max_seconds
    pictures: list[NDArray[np.uint8]] = []
    current: Any = None  # shown until the next one is
    end, size = 0.0, (0, 0)

    def take_until(time: float) -> None:
        picture = None
        while len(pictures) / fps < min(time, limit) - 1e-6:
            picture = _as_array(current, size) if picture is None else picture
            pictures.append(picture)

    for begin, until, frame in shown:
        if current is None:
            size = _fitting(frame, max_pixels)  # of all frames: some broadcasts change it on their way
        else:
            take_until(begin)
        current, end = frame, until
        if begin >= limit:
            break
    if current is None:
        raise VideoError("no pictures in it")
    take_until(end)
    return Frames(np.stack(pictures), max(seconds, end))


def _shown(container: Any) -> Iterator[tuple[float, float, Any]]:
    """Decode frames, with the times in seconds from and until which each is shown."""
    begin, rate = _begin(container), float(container.streams.video[0].average_rate or 25)
    for number, frame in enumerate(container.decode(video=0)):
        time = number / rate if frame.time is None else float(frame.time) - begin
        lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / rate
        yield time, time + lasts, frame


def _fitting(frame: Any, max_pixels: int) -> tuple[int, int]:
    """Return height and width of a frame, made smaller where it has too many pixels."""
    height, width = frame.height, frame.width
    if max(height, width) > _MOST_ASPECT * min(height, width):
        raise VideoError(f"pictures of {width} × {height}: too long for their width")
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def _as_array(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    smaller = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
    # Telephones write how the picture has to be turned, counterclockwise, beside it.
    return np.ascontiguousarray(np.rot90(smaller.to_ndarray(), round(frame.rotation / 90)))


def read_sound(path: Path, max_seconds: float | None = None) -> tuple[NDArray[np.float32], int, float]:
    """Decode the sound of a container.

    Returns
    -------
    samples : float32 array (samples, channels)
    rate : int
        In Hz.
    seconds : float
        Length of the recording, also where no more than ``max_seconds`` of it were decoded.

    Raises
    ------
    VideoError
        If it cannot be read, or there is no sound in it.
    """
    av = need_av()
    with _opened(path) as container:
        if not container.streams.audio:
            raise VideoError("no sound in it")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise VideoError("there is no decoder for its sound")
        rate, layout = int(stream.rate), stream.layout
        resamplers: dict[tuple[str, str, int], Any] = {}  # broadcasts may change their format on the way
        blocks: list[NDArray[np.float32]] = []
        decoded, wanted = 0, math.inf if max_seconds is None else math.ceil(max_seconds * rate)
        for frame in container.decode(stream):
            if not blocks and frame.time is not None:  # where sound begins after the pictures, there is silence
                late = min(float(frame.time) - _begin(container), container_seconds(container) or math.inf)
                silence = int(min(max(0, round(late * rate)), wanted))
                blocks.append(np.zeros((silence, len(layout.channels)), dtype=np.float32))
                decoded += len(blocks[0])
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            if kind not in resamplers:
                resamplers[kind] = av.AudioResampler(format="flt", layout=layout.name, rate=rate)
            for block in resamplers[kind].resample(frame):
                blocks.append(block.to_ndarray().reshape(block.samples, -1))
                decoded += block.samples
            if decoded >= wanted:
                break
        if not decoded:
            raise VideoError("no sound in it")
        samples = np.concatenate(blocks)[: None if math.isinf(wanted) else int(wanted)]
        return samples, rate, max(container_seconds(container), len(samples) / rate)


def seconds_of_container(path: Path) -> float:
    """Tell how long a container is by its header alone; 0 where that cannot be told.

    Raises
    ------
    VideoError
        If it cannot be read.
    """
    with _opened(path) as container:
        return container_seconds(container)


def container_seconds(container: Any) -> float:
    """Tell how long an open container says that it is; 0 where it does not say."""
    return 0.0 if container.duration is None else container.duration / 1e6


def _begin(container: Any) -> float:
    return 0.0 if container.start_time is None else container.start_time / 1e6


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    av = need_av()
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except VideoError:
        raise
    except (av.FFmpegError, OSError, ValueError, AttributeError) as error:  # what PyAV has for odd files
        raise VideoError(f"not readable: {getattr(error, 'strerror', None) or error}") from error
