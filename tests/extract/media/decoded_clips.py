"""What is heard or seen of a clip of which something must be."""

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
