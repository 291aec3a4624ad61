"""The result of one clip."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from calm.extract.media.content import UNKNOWN, Content


@dataclass(frozen=True, eq=False)
class ClipResult:
    """Result of one clip: the output of the model, or the reason why there is none.

    Parameters
    ----------
    row : int
        Index of the clip in the list of clips.
    value : ndarray, default=None
        Output of the model: head vectors of shape (n_layers, n_heads, head_dim) or log-likelihoods of shape
        (n_answers,). None if the clip failed.
    reason : str, default=""
        Why the clip failed. Empty if it did not fail.
    seconds : float, default=nan
        Length of the clip in seconds before it is cut; NaN if the clip could not be read.
    peak : float, default=nan
        Largest absolute sample value; NaN if unknown.
    content : Content
        Digest, size and modification time of the clip's files.
    decoded_seconds : float, default=nan
        Length of the audio in seconds that could be decoded; NaN if unknown. See :class:`calm.extract.DecodedClip`.

    See Also
    --------
    calm.extract.head_vectors : Extract head vectors, one ClipResult for each clip.
    calm.extract.collect_results : Collect the values and failures of many clips.

    Examples
    --------
    >>> result = ClipResult(3, reason="no samples in it")
    >>> result.failed, result.value is None
    (True, True)
    """

    row: int
    value: NDArray[Any] | None = field(default=None, repr=False)
    reason: str = ""
    seconds: float = math.nan
    peak: float = math.nan
    content: Content = UNKNOWN
    decoded_seconds: float = math.nan

    @property
    def failed(self) -> bool:
        """Whether the clip failed, so that there is no value."""
        return self.value is None
