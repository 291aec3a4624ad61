"""One clip as a model is given it: its sound, its pictures, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calm.extract.media.audio import read_waveform
from calm.extract.media.find import Clip
from calm.extract.media.video import VideoError, read_frames
from calm.extract.senses import Senses


@dataclass(frozen=True)
class Percept:
    """What is heard and seen of a clip."""

    samples: NDArray[np.float32] | None  #: mono, (samples,), at the model's rate; None where only pictures count
    frames: NDArray[np.uint8] | None  #: (frames, height, width, 3); None where only sound counts
    seconds: float  #: length of the recording before any cut
    peak: float  #: largest absolute sample; NaN without sound

    @classmethod
    def of(cls, clip: Percept | NDArray[np.float32], sampling_rate: int) -> Percept:
        """Take a waveform ``(samples,)`` for what is heard, at the model's rate; what is one already stays as it is."""
        if isinstance(clip, Percept):
            return clip
        samples = clip
        return cls(samples, None, len(samples) / sampling_rate, float(np.abs(samples).max(initial=0)))


def perceive(clip: Clip, senses: Senses, sampling_rate: int, max_seconds: float | None = None) -> Percept:
    """Decode what a model is to be given of a clip.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    ImportError
        If a file needs PyAV, and it is not there.
    ValueError
        If sound or pictures are wanted and cannot be used; the message says why.

    Examples
    --------
    >>> tone = np.ones(8000, dtype=np.float32)
    >>> perceive(Clip(tone, "tone"), Senses(), 16000).seconds
    0.5
    """
    wave = frames = None
    if senses.hears:
        wave = read_waveform(clip.audio, sampling_rate, max_seconds)
    if senses.sees:
        source = clip.audio if clip.video is None else clip.video
        if not isinstance(source, str | Path) and clip.video is None:
            raise VideoError("no pictures: there are samples alone")
        frames = read_frames(source, senses.fps, senses.max_pixels, max_seconds)  # type: ignore[arg-type]
    return Percept(
        samples=None if wave is None else wave.samples,
        frames=None if frames is None else frames.pictures,
        seconds=max(part.seconds for part in (wave, frames) if part is not None),
        peak=math.nan if wave is None else wave.peak,
    )
