"""Decode one clip for a model: its audio, its video, or both."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from calm.extract.media.audio import read_waveform
from calm.extract.media.clip import Clip
from calm.extract.media.content import compute_content, read_file_states
from calm.extract.media.decoded_clip import DecodedClip
from calm.extract.media.video import VideoError, read_frames
from calm.extract.media_options import MediaOptions

#: How often to decode a file that changes while it is read.
_MAX_ATTEMPTS = 3


def select_sources(clip: Clip, media_options: MediaOptions) -> tuple[Any, ...]:
    """Return the files or arrays of a clip that the model needs; only these are decoded and hashed.

    Returns
    -------
    tuple of (path, array, or (array, rate))
        The audio, the video, or both. A file that holds both is listed once.

    Examples
    --------
    >>> clip = Clip("dog.wav", "dog", video="dog.mp4")
    >>> select_sources(clip, MediaOptions("audio")), select_sources(clip, MediaOptions("audio-visual"))
    (('dog.wav',), ('dog.wav', 'dog.mp4'))
    >>> select_sources(Clip("dog.mp4", "dog"), MediaOptions("visual"))
    ('dog.mp4',)
    """
    if clip.video is None:
        return (clip.audio,)
    return (clip.audio,) * media_options.uses_audio + (clip.video,) * media_options.uses_video


def decode_clip(
    clip: Clip, media_options: MediaOptions, sampling_rate: int, max_seconds: float | None = None
) -> DecodedClip:
    """Decode the audio, the video, or both of a clip, and compute a digest of its content.

    A file that changes while it is read is decoded again, at most three times. The digest therefore always belongs to
    the bytes that were decoded.

    Parameters
    ----------
    clip : Clip
        The clip to decode.
    media_options : MediaOptions
        Modality, frame rate and frame size.
    sampling_rate : int
        Sampling rate of the returned waveform in Hz.
    max_seconds : float, default=None
        Maximum length in seconds; longer clips are cut. None decodes the whole clip.

    Returns
    -------
    DecodedClip
        Waveform, frames, or both, with length, peak and content digest.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    OSError
        If a path is not a regular file, cannot be read, or keeps changing.
    ImportError
        If a file needs PyAV, and PyAV is not installed.
    AudioError, VideoError
        If the audio or the video cannot be decoded; the message says why.

    See Also
    --------
    calm.extract.read_waveform : Decode audio only.
    calm.extract.read_frames : Decode the frames of a video only.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import Clip, MediaOptions, decode_clip
    >>> clip = Clip(np.ones(8000, dtype=np.float32), "tone")
    >>> decode_clip(clip, MediaOptions(), sampling_rate=16000).seconds
    0.5
    """
    sources = select_sources(clip, media_options)
    states_before = read_file_states(*sources)
    for _ in range(_MAX_ATTEMPTS):
        decoded = _decode(clip, media_options, sampling_rate, max_seconds)
        content = compute_content(*sources)
        states_after = read_file_states(*sources)
        if states_after == states_before:  # otherwise the digest may belong to other bytes
            return replace(decoded, content=content)
        pairs = zip(states_before, states_after, strict=True)
        changed_path = next(path for (path, before), (_, after) in pairs if before != after)
        states_before = states_after
    raise OSError(f"the file changed while it was read: {changed_path}")


def _decode(clip: Clip, media_options: MediaOptions, sampling_rate: int, max_seconds: float | None) -> DecodedClip:
    """Decode what the modality needs."""
    if not media_options.uses_video:
        return read_waveform(clip.audio, sampling_rate, max_seconds)
    if not media_options.uses_audio:
        return _decode_video(clip, media_options, max_seconds)
    audio = read_waveform(clip.audio, sampling_rate, max_seconds)
    video = _decode_video(clip, media_options, max_seconds)
    return replace(audio, frames=video.frames, seconds=max(audio.seconds, video.seconds), decoded_seconds=math.nan)


def _decode_video(clip: Clip, media_options: MediaOptions, max_seconds: float | None) -> DecodedClip:
    source = clip.audio if clip.video is None else clip.video
    if not isinstance(source, str | Path) and clip.video is None:
        raise VideoError("it has no video, only an array of samples")
    return read_frames(source, media_options.frame_rate, media_options.frame_pixels, max_seconds)  # type: ignore[arg-type]
