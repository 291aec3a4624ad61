"""Audio files and arrays in, one mono waveform at the model's rate out."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.media.decoded_clip import DecodedClip
from calm.extract.media.libraries import library_call
from calm.extract.media.sound import Sound
from calm.extract.media.video import CONTAINER_SUFFIXES, VideoError, container_duration, is_rate, opened_sound

#: A file; a mono array ``(samples,)`` or ``(samples, channels)`` at the model's rate; or such an array with its rate.
Audio = str | Path | NDArray[Any] | tuple[NDArray[Any], int]

#: Read beyond the window, so that the resampler's filter sees what follows the cut.
_MARGIN_SECONDS = 0.1

#: Shorter clips are followed by silence: some encoders make no token at all of a few milliseconds.
MIN_SECONDS = 0.1

#: In Hz. Recorders of acoustic emission and ultrasound take up to ten million samples a second; files cannot say less
#: than one. Beyond, a header is a lie, and decides how large the resampler's filter is.
_LOWEST_RATE, _HIGHEST_RATE = 1, 10_000_000

#: At the model's rate, 1 GiB of float32: four and a half hours at 16 kHz, of which no model hears a tenth.
_MOST_SAMPLES = 2**28


class AudioError(ValueError):
    """A clip that cannot be used; the message says why."""


def read_waveform(audio: Audio, sampling_rate: int, max_seconds: float | None = None) -> DecodedClip:
    """Decode, mix down to mono (the mean of the channels), resample and cut.

    Parameters
    ----------
    audio : path, array or (array, rate)
        Any file with a header that libsndfile reads, at rates from 1 Hz to 10 MHz and any number of channels, and the
        sound of films, m4a, aac and wma (extra ``video``); or samples ``(samples,)`` or ``(samples, channels)``,
        floating point or scaled integers. An array without its rate is taken to be at ``sampling_rate``.
    sampling_rate : int
        Of the answer, in Hz.
    max_seconds : float, default=None
        Keep only the beginning. Of a longer file no more than that is decoded. None reads the clip whole, which may be
        268 million samples long, 4.6 hours at 16 kHz.

    Returns
    -------
    DecodedClip
        Without frames.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it is no regular file, or may not be read.
    AudioError
        If it is not readable as audio, has no samples, or holds NaN or infinity; if its rate is none, or it is too long
        to be read whole.

    Examples
    --------
    Half a second of stereo at 8 kHz, for a model that hears 16 kHz:

    >>> clip = read_waveform((np.full((4000, 2), 0.5, dtype=np.float32), 8000), 16000)
    >>> clip.samples.shape, clip.seconds, round(clip.peak, 2)
    ((8000,), 0.5, 0.5)
    """
    try:
        with _opened(audio, sampling_rate) as sound:
            return _heard(sound, sampling_rate, max_seconds)
    except MemoryError as error:
        raise AudioError("memory does not suffice for it") from error


def audio_duration(audio: Audio, sampling_rate: int) -> float:
    """Tell how long a clip is, by a file's header alone; 0 where that cannot be told.

    Examples
    --------
    >>> audio_duration((np.zeros(4000), 8000), 16000)
    0.5
    """
    try:
        if isinstance(audio, str | Path) and Path(audio).suffix.lower() in CONTAINER_SUFFIXES:
            return container_duration(Path(audio))  # also where no decoder is there
        with _opened(audio, sampling_rate) as sound:
            return sound.seconds
    except (AudioError, VideoError, OSError, ImportError, MemoryError):  # told when it is read
        return 0.0


@contextmanager
def _opened(audio: Audio, sampling_rate: int) -> Iterator[Sound]:
    """Open whatever a clip is heard from, and check its rate."""
    if not isinstance(audio, str | Path):
        yield _in_memory(audio, sampling_rate)
    elif Path(audio).suffix.lower() in CONTAINER_SUFFIXES:
        try:
            with opened_sound(Path(audio)) as sound:
                _check_rate(sound.rate)
                yield sound
        except (VideoError, ImportError) as error:
            raise AudioError(str(error)) from error
    else:
        from calm.extract.media import sndfile

        with sndfile.opened(Path(audio), AudioError) as sound:
            _check_rate(sound.rate)
            yield sound


def _in_memory(audio: Any, sampling_rate: int) -> Sound:
    array, rate = audio if isinstance(audio, tuple) and len(audio) == 2 else (audio, sampling_rate)
    _check_rate(rate)
    try:
        samples = _as_float(np.asarray(array))
    except ValueError as error:
        raise error if isinstance(error, AudioError) else AudioError(f"no array of samples: {error}") from error
    return Sound(rate, len(samples) / rate, iter([samples]))


def _check_rate(rate: Any) -> None:
    if not is_rate(rate) or not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise AudioError(f"{rate} Hz, a rate that no recorder has: expected 1 Hz to 10 MHz")


def _as_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Bring ``(samples,)`` or ``(samples, channels)`` to float32 ``(samples, channels)``."""
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.shape[1] > max(samples.shape[0], 1):
        raise AudioError(f"shape {samples.shape}; expected (samples,) or (samples, channels)")
    if samples.size == 0:
        raise AudioError("no samples in it")
    if np.issubdtype(samples.dtype, np.signedinteger):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if np.issubdtype(samples.dtype, np.floating):
        with np.errstate(over="ignore"):  # becomes infinity, which is refused
            return samples.astype(np.float32)
    raise AudioError(f"samples of type {samples.dtype}; expected floating point or signed integers")


def _heard(sound: Sound, sampling_rate: int, max_seconds: float | None) -> DecodedClip:
    wanted = sys.maxsize if max_seconds is None else math.ceil((max_seconds + _MARGIN_SECONDS) * sound.rate)
    peak, decoded = np.float32(0), 0

    def mixed() -> Iterator[NDArray[np.float32]]:
        nonlocal peak, decoded
        for block in sound.blocks:
            with np.errstate(over="ignore", invalid="ignore"):  # becomes infinity or NaN, which is refused
                mono = block[: wanted - decoded].mean(axis=1, dtype=np.float32)
            peak, decoded = np.maximum(peak, np.abs(mono).max(initial=0)), decoded + len(mono)
            if decoded * sampling_rate > _MOST_SAMPLES * sound.rate:
                raise AudioError(f"more than {_MOST_SAMPLES} samples at {sampling_rate} Hz: set max_seconds")
            yield mono
            if decoded >= wanted:
                return

    samples = np.concatenate(list(_resampled(mixed(), sound.rate, sampling_rate)))
    if decoded == 0:
        raise AudioError("no samples in it")
    if not np.isfinite(peak) or not np.isfinite(samples).all():
        raise AudioError("samples that are NaN or infinite")
    if max_seconds is not None:
        samples = samples[: round(max_seconds * sampling_rate)]
    too_short = round(MIN_SECONDS * sampling_rate) - len(samples)
    if too_short > 0:
        samples = np.pad(samples, (0, too_short))
    return DecodedClip(samples, None, max(sound.seconds, decoded / sound.rate), float(peak))


def _resampled(blocks: Iterator[NDArray[np.float32]], rate: float, sampling_rate: int) -> Iterator[NDArray[np.float32]]:
    """Bring mono blocks to another rate as they come: the same samples, bit by bit, as of all of them at once."""
    nothing = np.empty(0, dtype=np.float32)
    yield nothing
    if rate == sampling_rate:
        yield from blocks
        return
    import soxr

    with library_call(AudioError, f"not resampled from {rate} Hz"):
        stream = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32")
    for block in blocks:
        with library_call(AudioError, f"not resampled from {rate} Hz"):
            resampled = stream.resample_chunk(block)
        yield resampled
    with library_call(AudioError, f"not resampled from {rate} Hz"):
        rest = stream.resample_chunk(nothing, last=True)
    yield rest
