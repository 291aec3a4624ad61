"""Audio files and arrays in, one mono waveform at the model's rate out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.media.video import CONTAINER_SUFFIXES, VideoError, read_sound, seconds_of_container

#: A file; a mono array ``(samples,)`` or ``(samples, channels)`` at the model's rate; or such an array with its rate.
Audio = str | Path | NDArray[Any] | tuple[NDArray[Any], int]

#: Read beyond the window, so that the resampler's filter sees what follows the cut.
_MARGIN_SECONDS = 0.1

#: Shorter clips are followed by silence: some encoders make no token at all of a few milliseconds.
MIN_SECONDS = 0.1


class AudioError(ValueError):
    """A clip that cannot be used; the message says why."""


@dataclass(frozen=True)
class Waveform:
    """A clip as a model hears it."""

    samples: NDArray[np.float32]  #: mono, ``(samples,)``, at the rate asked for
    seconds: float  #: length of the recording before any cut or padding
    peak: float  #: largest absolute sample; 0 is digital silence


def read_waveform(audio: Audio, sampling_rate: int, max_seconds: float | None = None) -> Waveform:
    """Decode, mix down to mono (the mean of the channels), resample and cut.

    Parameters
    ----------
    audio : path, array or (array, rate)
        Any file that libsndfile reads, at any rate and number of channels, and the sound of films, m4a, aac and wma
        (extra ``video``); or samples ``(samples,)`` or
        ``(samples, channels)``, floating point or scaled integers. An array without its rate is taken to be at
        ``sampling_rate``.
    sampling_rate : int
        Of the answer, in Hz.
    max_seconds : float, optional
        Keep only the beginning. Of a longer file no more than that is decoded.

    Returns
    -------
    Waveform

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    AudioError
        If it is not readable as audio, has no samples, or holds NaN or infinity.

    Examples
    --------
    Half a second of stereo at 8 kHz, for a model that hears 16 kHz:

    >>> clip = read_waveform((np.full((4000, 2), 0.5, dtype=np.float32), 8000), 16000)
    >>> clip.samples.shape, clip.seconds, round(clip.peak, 2)
    ((8000,), 0.5, 0.5)
    """
    if isinstance(audio, str | Path):
        samples, rate, seconds = _read_file(Path(audio), max_seconds)
    else:
        array, rate = audio if isinstance(audio, tuple) else (audio, sampling_rate)
        samples = _as_float(np.asarray(array))
        seconds = len(samples) / rate
    if len(samples) == 0:
        raise AudioError("no samples in it")
    if not np.isfinite(samples).all():
        raise AudioError("samples that are NaN or infinite")
    if max_seconds is not None:
        samples = samples[: math.ceil((max_seconds + _MARGIN_SECONDS) * rate)]
    mixed = samples.mean(axis=1, dtype=np.float32)
    peak = float(np.abs(mixed).max())
    mono = _resample(mixed, rate, sampling_rate)
    if max_seconds is not None:
        mono = mono[: round(max_seconds * sampling_rate)]
    too_short = round(MIN_SECONDS * sampling_rate) - len(mono)
    if too_short > 0:
        mono = np.pad(mono, (0, too_short))
    return Waveform(mono, seconds, peak)


def seconds_of(audio: Audio, sampling_rate: int) -> float:
    """Tell how long a clip is, by a file's header alone; 0 where that cannot be told.

    Examples
    --------
    >>> seconds_of((np.zeros(4000), 8000), 16000)
    0.5
    """
    import soundfile

    if isinstance(audio, str | Path):
        try:
            if Path(audio).suffix.lower() in CONTAINER_SUFFIXES:
                return seconds_of_container(Path(audio))
            return float(soundfile.info(audio).duration)
        except (soundfile.SoundFileError, VideoError, OSError, TypeError, ImportError):
            return 0.0
    array, rate = audio if isinstance(audio, tuple) else (audio, sampling_rate)
    return len(array) / rate


def _read_file(path: Path, max_seconds: float | None) -> tuple[NDArray[np.float32], int, float]:
    import soundfile

    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.suffix.lower() in CONTAINER_SUFFIXES:
        try:
            return read_sound(path, None if max_seconds is None else max_seconds + _MARGIN_SECONDS)
        except (VideoError, ImportError) as error:
            raise AudioError(str(error)) from error
    try:
        with soundfile.SoundFile(path) as file:
            frames = -1 if max_seconds is None else math.ceil((max_seconds + _MARGIN_SECONDS) * file.samplerate)
            samples = file.read(frames, dtype="float32", always_2d=True)
            return samples, file.samplerate, max(file.frames, len(samples)) / file.samplerate
    except TypeError as error:  # headerless formats, of which nothing can be known
        raise AudioError(f"not readable as audio: {path.suffix or 'its format'} has no header") from error
    except (soundfile.SoundFileError, OSError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise AudioError(f"not readable as audio: {reason.strip().rstrip('.')}") from error


def _as_float(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Bring ``(samples,)`` or ``(samples, channels)`` to float32 ``(samples, channels)``."""
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.shape[1] > max(samples.shape[0], 1):
        raise AudioError(f"shape {samples.shape}; expected (samples,) or (samples, channels)")
    if np.issubdtype(samples.dtype, np.signedinteger):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    raise AudioError(f"samples of type {samples.dtype}; expected floating point or signed integers")


def _resample(mono: NDArray[np.float32], rate: int, sampling_rate: int) -> NDArray[np.float32]:
    if rate == sampling_rate:
        return mono
    import soxr

    return soxr.resample(mono, rate, sampling_rate)
