"""A decoded clip: the waveform and the frames that go into a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.extract.media.content import UNKNOWN, Content


@dataclass(frozen=True)
class DecodedClip:
    """Waveform and frames of a clip, ready for a model's processor.

    Parameters
    ----------
    samples : array of float32 of shape (n_samples,), or None
        Mono waveform at the model's sampling rate. None if only the video is used.
    frames : array of uint8 of shape (n_frames, height, width, 3), or None
        RGB frames. None if only the audio is used.
    seconds : float
        Length of the clip in seconds, before it is cut or padded.
    peak : float, default=nan
        Largest absolute sample. 0 means digital silence, NaN means no audio.
    content : Content, default=UNKNOWN
        Digest, size and modification time of the files or arrays that were decoded.
    decoded_seconds : float, default=nan
        Length of the audio in seconds that could be decoded. It is shorter than ``seconds`` if the file is truncated,
        and also for a clip that is cut, because decoding stops shortly after the cut. NaN means unknown: frames only,
        or a file that declares no exact length of its audio.

    See Also
    --------
    calm.extract.decode_clip : Decode the audio, the video, or both of a clip.
    calm.extract.read_waveform : Decode audio only.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import DecodedClip
    >>> DecodedClip.from_waveform(np.ones(8000, dtype=np.float32), sampling_rate=16000).seconds
    0.5
    """

    samples: NDArray[np.float32] | None
    frames: NDArray[np.uint8] | None
    seconds: float
    peak: float = math.nan
    content: Content = UNKNOWN
    decoded_seconds: float = math.nan

    @classmethod
    def from_waveform(cls, clip: DecodedClip | NDArray[np.float32], sampling_rate: int) -> DecodedClip:
        """Make a decoded clip from a waveform; a decoded clip is returned as it is.

        Parameters
        ----------
        clip : DecodedClip, or array of float32 of shape (n_samples,)
            Mono waveform at ``sampling_rate``.
        sampling_rate : int
            The model's sampling rate in Hz.

        Returns
        -------
        DecodedClip
            The clip, without frames if it was made from a waveform.
        """
        if isinstance(clip, DecodedClip):
            return clip
        samples, seconds = clip, len(clip) / sampling_rate
        return cls(samples, None, seconds, float(np.abs(samples).max(initial=0)), decoded_seconds=seconds)
