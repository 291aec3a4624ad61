"""Sound as it is decoded: block by block, so that no header decides how much memory is taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sound:
    """An open recording."""

    rate: float  #: in Hz
    seconds: float  #: length by the header; 0 where it does not tell
    blocks: Iterator[NDArray[np.float32]]  #: each (samples, channels), to the end
