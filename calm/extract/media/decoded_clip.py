"""A clip as a model is given it: the one carrier of what is heard and what is seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.extract.media.content import UNKNOWN, Content


@dataclass(frozen=True)
class DecodedClip:
    """What is heard and seen of a clip.

    Examples
    --------
    >>> DecodedClip.of(np.ones(8000, dtype=np.float32), 16000).seconds
    0.5
    """

    samples: NDArray[np.float32] | None  #: mono, (samples,), at the model's rate; None where only pictures count
    frames: NDArray[np.uint8] | None  #: (frames, height, width, 3), RGB; None where only sound counts
    seconds: float  #: length of the recording before any cut or padding
    peak: float = math.nan  #: largest absolute sample; 0 is digital silence, NaN no sound at all
    content: Content = UNKNOWN  #: digest, size and time of what it was made of

    @classmethod
    def of(cls, clip: DecodedClip | NDArray[np.float32], sampling_rate: int) -> DecodedClip:
        """Take a waveform ``(samples,)`` for what is heard, at the model's rate; what is one already stays as it is."""
        if isinstance(clip, DecodedClip):
            return clip
        samples = clip
        return cls(samples, None, len(samples) / sampling_rate, float(np.abs(samples).max(initial=0)))
