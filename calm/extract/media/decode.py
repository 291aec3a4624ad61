"""One clip as a model is given it: its sound, its pictures, or both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from calm.extract.media.audio import read_waveform
from calm.extract.media.clip import Clip
from calm.extract.media.content import content_of, state_of
from calm.extract.media.decoded_clip import DecodedClip
from calm.extract.media.video import VideoError, read_frames
from calm.extract.media_options import MediaOptions

#: So many times a file is read that is written to meanwhile.
_TRIES = 3


def sources_of(clip: Clip, media_options: MediaOptions) -> tuple[Any, ...]:
    """Tell which files or arrays of a clip a model is given: these are read and digested, and no others.

    Returns
    -------
    tuple of (path, array, or (array, rate))
        Its sound, its pictures, or both; once, where they are in one file.

    Examples
    --------
    >>> clip = Clip("dog.wav", "dog", video="dog.mp4")
    >>> sources_of(clip, MediaOptions("audio")), sources_of(clip, MediaOptions("audio-visual"))
    (('dog.wav',), ('dog.wav', 'dog.mp4'))
    >>> sources_of(Clip("dog.mp4", "dog"), MediaOptions("visual"))
    ('dog.mp4',)
    """
    if clip.video is None:
        return (clip.audio,)
    return (clip.audio,) * media_options.uses_audio + (clip.video,) * media_options.uses_video


def decode_clip(
    clip: Clip, media_options: MediaOptions, sampling_rate: int, max_seconds: float | None = None
) -> DecodedClip:
    """Decode what a model is to be given of a clip, and digest it: the digest is of the bytes that were decoded.

    A file that is replaced or written to meanwhile is read again, three times at most. Of a clip that fails,
    :func:`calm.extract.media.content.content_if_readable` tells the content.

    Raises
    ------
    FileNotFoundError
        If a file is not there.
    OSError
        If it is no regular file, may not be read, or is being written.
    ImportError
        If a file needs PyAV, and it is not there.
    AudioError, VideoError
        If sound or pictures are wanted and cannot be used; the message says why.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.ones(8000, dtype=np.float32)
    >>> decode_clip(Clip(tone, "tone"), MediaOptions(), 16000).seconds
    0.5
    """
    sources = sources_of(clip, media_options)
    before = state_of(*sources)
    for _ in range(_TRIES):
        decoded = _decoded(clip, media_options, sampling_rate, max_seconds)
        content = content_of(*sources)
        after = state_of(*sources)
        if after == before:  # else the digest may be of other bytes
            return replace(decoded, content=content)
        moved = next(path for (path, now), (_, then) in zip(after, before, strict=True) if now != then)
        before = after
    raise OSError(f"it is being written: {moved}")


def _decoded(clip: Clip, media_options: MediaOptions, sampling_rate: int, max_seconds: float | None) -> DecodedClip:
    if not media_options.uses_video:
        return read_waveform(clip.audio, sampling_rate, max_seconds)
    if not media_options.uses_audio:
        return _seen(clip, media_options, max_seconds)
    heard, seen = read_waveform(clip.audio, sampling_rate, max_seconds), _seen(clip, media_options, max_seconds)
    return replace(heard, frames=seen.frames, seconds=max(heard.seconds, seen.seconds))


def _seen(clip: Clip, media_options: MediaOptions, max_seconds: float | None) -> DecodedClip:
    source = clip.audio if clip.video is None else clip.video
    if not isinstance(source, str | Path) and clip.video is None:
        raise VideoError("no pictures: there are samples alone")
    return read_frames(source, media_options.frame_rate, media_options.frame_pixels, max_seconds)  # type: ignore[arg-type]
