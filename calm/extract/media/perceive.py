"""One clip as a model is given it: its sound, its pictures, or both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from calm.extract.media.audio import read_waveform
from calm.extract.media.clip import Clip
from calm.extract.media.content import content_of
from calm.extract.media.percept import Percept
from calm.extract.media.video import VideoError, read_frames
from calm.extract.senses import Senses


def perceive(clip: Clip, senses: Senses, sampling_rate: int, max_seconds: float | None = None) -> Percept:
    """Decode what a model is to be given of a clip.

    Of a clip that fails, :func:`calm.extract.media.content.content_if_readable` tells the content.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    OSError
        If it is no regular file, or may not be read.
    ImportError
        If a file needs PyAV, and it is not there.
    AudioError, VideoError
        If sound or pictures are wanted and cannot be used; the message says why.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.ones(8000, dtype=np.float32)
    >>> perceive(Clip(tone, "tone"), Senses(), 16000).seconds
    0.5
    """
    if not senses.sees:
        percept = read_waveform(clip.audio, sampling_rate, max_seconds)
    elif not senses.hears:
        percept = _seen(clip, senses, max_seconds)
    else:
        heard, seen = read_waveform(clip.audio, sampling_rate, max_seconds), _seen(clip, senses, max_seconds)
        percept = replace(heard, frames=seen.frames, seconds=max(heard.seconds, seen.seconds))
    return replace(percept, content=content_of(clip.audio, clip.video))


def _seen(clip: Clip, senses: Senses, max_seconds: float | None) -> Percept:
    source = clip.audio if clip.video is None else clip.video
    if not isinstance(source, str | Path) and clip.video is None:
        raise VideoError("no pictures: there are samples alone")
    return read_frames(source, senses.frame_rate, senses.frame_pixels, max_seconds)  # type: ignore[arg-type]
