"""Read video containers (mp4, mkv, webm …): frames at a fixed rate, and the soundtrack.

Frames and sound both count time from the start of the container. They stay in sync when one stream starts later.
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
from calm.extract.media.libraries import wrap_library_errors
from calm.extract.media.sound import Sound

#: Suffixes of video files.
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mkv", ".webm", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv", ".3gp")
)

#: Suffixes of files that need PyAV for their sound, because libsndfile cannot read them.
CONTAINER_SUFFIXES = VIDEO_SUFFIXES | frozenset((".m4a", ".aac", ".wma", ".mka"))

#: Maximum aspect ratio of a frame: vision encoders accept no more.
_MAX_ASPECT_RATIO = 200

#: Maximum height × width of a decoded frame: twice the size of 8K video.
_MAX_PIXELS = 2**26

#: Maximum size of all frames taken from one video.
_MAX_FRAME_BYTES = 2**31

#: Samples per channel in one block of silence.
_SILENCE_BLOCK = 2**16

_NOT_READABLE = "not readable"

#: A video file; or a pair of frames ``(frames, height, width, 3)`` in uint8 and their frame rate.
VideoSource = str | Path | tuple[NDArray[np.uint8], float]


class VideoError(ValueError):
    """Error for a video whose frames or soundtrack cannot be decoded or used; the message says why.

    See Also
    --------
    calm.extract.read_frames : Decode the frames of a video; raises this error.
    calm.extract.AudioError : The same for audio.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import VideoError, read_frames
    >>> try:
    ...     read_frames((np.zeros((0, 48, 64, 3), dtype=np.uint8), 10.0), fps=2.0, max_pixels=768)
    ... except VideoError as error:
    ...     print(error)
    it has no frames
    """


def is_valid_rate(value: Any) -> bool:
    """Return whether a value is a finite number above 0; a bool is not a number here.

    Examples
    --------
    >>> is_valid_rate(8000), is_valid_rate(np.float32(2)), is_valid_rate(0), is_valid_rate(math.nan)
    (True, True, False, False)
    >>> is_valid_rate("8000"), is_valid_rate(True)
    (False, False)
    """
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf
    except OverflowError:  # an integer too large for a float
        return False


def require_av() -> Any:
    """Import PyAV.

    Raises
    ------
    ImportError
        If PyAV is not installed; the message names the extra to install.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError("video, m4a, aac and wma files need PyAV: pip install 'calm-audio[video]'") from error
    return av


def read_frames(video: VideoSource, fps: float, max_pixels: int, max_seconds: float | None = None) -> DecodedClip:
    """Decode the frames of a video at a fixed frame rate.

    Frame ``k`` of the result is the frame shown at ``k / fps`` seconds.

    Parameters
    ----------
    video : path, or tuple of (array, float)
        A video file that FFmpeg can read; or frames of shape (n_frames, height, width, 3) in uint8, with their own
        frame rate in frames per second.
    fps : float
        Frames per second of the result. If the video is slower, its frames are repeated.
    max_pixels : int
        Maximum height × width of a frame. Larger frames are scaled down; the aspect ratio is kept.
    max_seconds : float, default=None
        Maximum length in seconds. Longer videos are cut, and the rest of the file is not decoded. None reads the whole
        video, up to 2 GiB of frames.

    Returns
    -------
    DecodedClip
        The frames of shape (n_frames, height, width, 3), and the length of the video before it is cut. ``samples`` is
        None.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    OSError
        If the path is not a regular file, or cannot be read.
    ImportError
        If PyAV is not installed.
    VideoError
        If the video cannot be decoded, has no frames, or its frames take too much memory.

    See Also
    --------
    calm.extract.read_waveform : Decode audio, or the soundtrack of a video.
    calm.extract.decode_clip : Decode the audio, the video, or both of a clip.

    Examples
    --------
    Three seconds of video at 10 frames per second, sampled at 2 frames per second:

    >>> import numpy as np
    >>> from calm.extract import read_frames
    >>> frames = np.zeros((30, 48, 64, 3), dtype=np.uint8)
    >>> read_frames((frames, 10.0), fps=2.0, max_pixels=768).frames.shape
    (6, 24, 32, 3)
    """
    try:
        if not isinstance(video, str | Path):
            array, rate = _check_frames(video)
            return _sample_frames(_wrap_frames(array, rate), len(array) / rate, fps, max_pixels, max_seconds)
        with _open_container(Path(video)) as container:
            if not container.streams.video:
                raise VideoError("it has no video stream")
            if container.streams.video[0].codec_context is None:
                raise VideoError("no decoder for its video stream")
            return _sample_frames(_decode_frames(container), declared_duration(container), fps, max_pixels, max_seconds)
    except MemoryError as error:
        raise VideoError("not enough memory to decode it") from error


def _check_frames(video: Any) -> tuple[NDArray[np.uint8], float]:
    """Check frames in memory and their frame rate."""
    if not isinstance(video, tuple) or len(video) != 2:
        raise VideoError("expected a video file, or a pair of frames and their frame rate")
    array, rate = np.asarray(video[0]), video[1]
    if not is_valid_rate(rate):
        raise VideoError(f"invalid frame rate {rate!r}: expected a number above 0")
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise VideoError(
            f"frames of shape {array.shape} and dtype {array.dtype}: expected (frames, height, width, 3) in uint8"
        )
    if array.size == 0:
        raise VideoError("it has no frames")
    return array, float(rate)


def _wrap_frames(array: NDArray[np.uint8], rate: float) -> Iterator[tuple[float, float, Any]]:
    """Yield frames of an array, each with the times in seconds from and until which it is shown."""
    make_frame = require_av().VideoFrame.from_ndarray
    for i, pixels in enumerate(array):
        with wrap_library_errors(VideoError, _NOT_READABLE):
            frame = make_frame(pixels, "rgb24")
        yield i / rate, (i + 1) / rate, frame


def _sample_frames(
    timed_frames: Iterator[tuple[float, float, Any]],
    seconds: float,
    fps: float,
    max_pixels: int,
    max_seconds: float | None,
) -> DecodedClip:
    """Go through the frames in order of time, and keep the one that is shown at each sampling time."""
    limit = math.inf if max_seconds is None else max_seconds
    kept: list[NDArray[np.uint8]] = []
    current: Any = None  # shown until the next frame begins
    end, size = 0.0, (0, 0)

    def keep_current_until(time: float) -> None:
        """Keep the current frame for all sampling times before ``time``."""
        pixels = None
        until = min(time, limit)
        if until * fps * size[0] * size[1] * 3 > _MAX_FRAME_BYTES:  # the times come from the file: do not trust them
            raise VideoError("frames take more than 2 GiB: set max_seconds")
        while len(kept) / fps < until - 1e-6:
            pixels = _to_array(current, size) if pixels is None else pixels
            if kept and pixels.shape != kept[0].shape:
                raise VideoError("the rotation of its frames changes")
            kept.append(pixels)

    for begin, until, frame in timed_frames:
        if current is None:
            size = _compute_frame_size(frame, max_pixels)  # for all frames: some broadcasts change theirs
        else:
            keep_current_until(begin)
        current, end = frame, until
        if begin >= limit:
            break
    if current is not None:
        keep_current_until(end)
    if not kept:
        raise VideoError("it has no frames")
    return DecodedClip(None, np.stack(kept), max(seconds, end))


def _decode_frames(container: Any) -> Iterator[tuple[float, float, Any]]:
    """Yield the frames of a container, each with the times in seconds from and until which it is shown."""
    stream = container.streams.video[0]
    with wrap_library_errors(VideoError, _NOT_READABLE):
        stream.codec_context.options = {**stream.codec_context.options, "max_pixels": str(_MAX_PIXELS)}
        start, rate = _start_time(container), float(stream.average_rate or 25)
    for number, frame in enumerate(_decode_stream(container, stream)):
        with wrap_library_errors(VideoError, _NOT_READABLE):
            time = number / rate if frame.time is None else float(frame.time) - start
            duration = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / rate
        yield time, time + duration, frame


def _decode_stream(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the decoded frames of a stream; errors of PyAV become VideoError."""
    with wrap_library_errors(VideoError, _NOT_READABLE):
        frames = iter(container.decode(stream))
    while True:
        with wrap_library_errors(VideoError, _NOT_READABLE):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


def _compute_frame_size(frame: Any, max_pixels: int) -> tuple[int, int]:
    """Return the height and width of a frame, scaled down if it has too many pixels."""
    height, width = frame.height, frame.width
    if max(height, width) > _MAX_ASPECT_RATIO * min(height, width):
        raise VideoError(f"frames of {width} × {height} pixels: the aspect ratio is above {_MAX_ASPECT_RATIO}")
    if not 0 < height * width <= _MAX_PIXELS:
        raise VideoError(f"frames of {width} × {height} pixels: expected at most {_MAX_PIXELS} pixels")
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def _to_array(frame: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize and rotate a frame, and convert it to RGB."""
    height, width = size
    with wrap_library_errors(VideoError, _NOT_READABLE):
        resized = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
        pixels, quarter_turns = resized.to_ndarray(), round(frame.rotation / 90)
    # Phones store an upright video sideways, with the counterclockwise rotation as metadata.
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns))


@contextmanager
def open_soundtrack(path: Path) -> Iterator[Sound]:
    """Open the audio stream of a container; silence fills the time before it starts.

    Raises
    ------
    OSError
        If the path is not a regular file, or cannot be read.
    VideoError
        If the file cannot be decoded, or has no audio stream; also while blocks are read.
    """
    with _open_container(path) as container:
        if not container.streams.audio:
            raise VideoError("it has no audio stream")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise VideoError("no decoder for its audio stream")
        with wrap_library_errors(VideoError, _NOT_READABLE):
            rate, layout, channels = int(stream.rate), stream.layout.name, len(stream.layout.channels)
        blocks = _decode_audio_blocks(container, stream, rate, layout, channels)
        # FFmpeg estimates the length of raw AAC. The length of a video may be that of its frames.
        has_exact_length = not container.streams.video and container.format.name != "aac"
        yield Sound(rate, declared_duration(container), blocks, has_exact_length)


def _decode_audio_blocks(
    container: Any, stream: Any, rate: int, layout: str, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Yield blocks (samples, channels) in the format of the first one: a broadcast may change its format."""
    resamplers: dict[tuple[str, str, int], Any] = {}
    for number, frame in enumerate(_decode_stream(container, stream)):
        with wrap_library_errors(VideoError, _NOT_READABLE):
            frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
            if frame_format not in resamplers:
                resamplers[frame_format] = require_av().AudioResampler(format="flt", layout=layout, rate=rate)
            resampled = resamplers[frame_format].resample(frame)
            blocks = [block.to_ndarray().reshape(block.samples, -1) for block in resampled]
            begin = None if frame.time is None else float(frame.time) - _start_time(container)
        if number == 0 and begin is not None:
            yield from _yield_silence(min(begin, declared_duration(container) or math.inf) * rate, channels)
        yield from blocks


def _yield_silence(n_samples: float, channels: int) -> Iterator[NDArray[np.float32]]:
    """Yield silence in blocks, because the file decides how long it is."""
    n_left = round(max(0.0, n_samples))
    while n_left > 0:
        yield np.zeros((min(n_left, _SILENCE_BLOCK), channels), dtype=np.float32)
        n_left -= _SILENCE_BLOCK


def container_duration(path: Path) -> float:
    """Read the length of a container in seconds from its header; 0 where it is unknown.

    Raises
    ------
    OSError
        If the path is not a regular file, or cannot be read.
    VideoError
        If the file cannot be decoded.
    """
    with _open_container(path) as container:
        return declared_duration(container)


def declared_duration(container: Any) -> float:
    """Return the length in seconds that an open container declares; 0 where it declares none."""
    return 0.0 if container.duration is None else max(0.0, container.duration / 1e6)


def _start_time(container: Any) -> float:
    return 0.0 if container.start_time is None else container.start_time / 1e6


@contextmanager
def _open_container(path: Path) -> Iterator[Any]:
    """Open a container by its file descriptor, and keep FFmpeg from opening anything else.

    A playlist or a list of parts could otherwise make FFmpeg open other files, pipes and network addresses.
    """
    av = require_av()
    with open_regular(path) as stream:
        options = {"fd": str(stream.fileno()), "protocol_whitelist": "fd", "max_pixels": str(_MAX_PIXELS)}
        with wrap_library_errors(VideoError, _NOT_READABLE):
            container = av.open("fd:", options=options, metadata_errors="replace")
        with container:
            yield container
