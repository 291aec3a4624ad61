"""What is heard or seen of a clip of which something must be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.extract import Percept


def samples_of(percept: Percept) -> NDArray[np.float32]:
    assert percept.samples is not None
    return percept.samples


def frames_of(percept: Percept) -> NDArray[np.uint8]:
    assert percept.frames is not None
    return percept.frames
