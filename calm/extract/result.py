"""What became of a clip: the one type that comes out of a model, whatever it was asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from calm.extract.media.content import UNKNOWN, Content


@dataclass(frozen=True, eq=False)
class ClipResult:
    """What a model gave for one clip, or the reason why it gave nothing.

    Examples
    --------
    >>> ClipResult(3, reason="no samples in it").failed
    True
    """

    row: int  #: number of the clip in the list that was given
    value: NDArray[Any] | None = field(default=None, repr=False)
    """What the model gave: head vectors (layers, heads, dim) or likelihoods (answers,); None where it failed."""
    reason: str = ""  #: why it failed; empty where it did not
    seconds: float = math.nan  #: length of the recording; NaN for a clip that could not be read
    peak: float = math.nan  #: largest absolute sample; NaN where that is not known
    content: Content = UNKNOWN  #: digest, size and time of its files

    @property
    def failed(self) -> bool:
        """Whether there is no value."""
        return self.value is None
