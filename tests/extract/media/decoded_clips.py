"""Return the waveform or the frames of a clip that must have them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.extract import DecodedClip


def samples_of(decoded: DecodedClip) -> NDArray[np.float32]:
    assert decoded.samples is not None
    return decoded.samples


def frames_of(decoded: DecodedClip) -> NDArray[np.uint8]:
    assert decoded.frames is not None
    return decoded.frames
