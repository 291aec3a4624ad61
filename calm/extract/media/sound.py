"""A decoded sound as a stream of blocks, so that memory use does not depend on what the header claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sound:
    """An open audio file, the sound of an open video, or an array of samples."""

    rate: float  #: sampling rate in Hz
    seconds: float  #: length according to the header; 0 where it is unknown
    blocks: Iterator[NDArray[np.float32]]  #: consecutive blocks (samples, channels), up to the end
    has_exact_length: bool = True  #: False if the header's length is an estimate, or that of a video around the sound
