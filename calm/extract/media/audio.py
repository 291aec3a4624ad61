"""Decode audio files and arrays into one mono waveform at the model's sampling rate."""

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
from calm.extract.media.libraries import wrap_library_errors
from calm.extract.media.sound import Sound
from calm.extract.media.video import CONTAINER_SUFFIXES, VideoError, container_duration, is_valid_rate, open_soundtrack

#: A file; an array ``(samples,)`` or ``(samples, channels)`` at the model's rate; or a pair of such an array and its
#: sampling rate in Hz.
Audio = str | Path | NDArray[Any] | tuple[NDArray[Any], int]

#: Extra seconds decoded beyond ``max_seconds``, so that the resampling filter sees the samples after the cut.
_MARGIN_SECONDS = 0.1

#: Shorter clips are padded with silence: some encoders make no token from a few milliseconds of audio.
MIN_SECONDS = 0.1

#: Accepted sampling rates in Hz. Recorders of ultrasound and acoustic emission reach 10 MHz; headers store whole
#: numbers, so 1 Hz is the smallest. The rate sets the size of the resampling filter, so a false header must not pass.
_LOWEST_RATE, _HIGHEST_RATE = 1, 10_000_000

#: Maximum length of a waveform at the model's sampling rate: 1 GiB of float32, or 4.6 hours at 16 kHz.
_MAX_SAMPLES = 2**28


class AudioError(ValueError):
    """Error for audio that cannot be decoded or used; the message says why.

    See Also
    --------
    calm.extract.read_waveform : Decode audio; raises this error.
    calm.extract.VideoError : The same for video.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import AudioError, read_waveform
    >>> try:
    ...     read_waveform(np.zeros(0), 16000)
    ... except AudioError as error:
    ...     print(error)
    no samples in it
    """


def read_waveform(audio: Audio, sampling_rate: int, max_seconds: float | None = None) -> DecodedClip:
    """Decode audio into a mono waveform at a given sampling rate.

    The channels are averaged, the result is resampled, and clips shorter than 0.1 s are padded with silence.

    Parameters
    ----------
    audio : path, array, or tuple of (array, int)
        One of:

        - an audio file that libsndfile can read (WAV, FLAC, Ogg, MP3, AIFF and more), with any number of channels;
        - a video, m4a, aac or wma file, which needs PyAV (``pip install 'calm-audio[video]'``);
        - an array of shape (n_samples,) or (n_samples, n_channels), floating point or signed integer, at
          ``sampling_rate``. Integers are scaled to [-1, 1];
        - a pair of such an array and its own sampling rate in Hz.

        Sampling rates from 1 Hz to 10 MHz are accepted.
    sampling_rate : int
        Sampling rate of the returned waveform in Hz.
    max_seconds : float, default=None
        Maximum length in seconds. Longer clips are cut, and the rest of the file is not decoded. None reads the whole
        clip, up to 268 million samples (4.6 hours at 16 kHz).

    Returns
    -------
    DecodedClip
        The waveform, the length of the clip before it is cut, the length that could be decoded, and the peak.
        ``frames`` is None.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    OSError
        If the path is not a regular file, or cannot be read.
    AudioError
        If the audio cannot be decoded, has no samples, contains NaN or infinity, has an invalid sampling rate, or is
        too long to be read whole.

    See Also
    --------
    calm.extract.read_frames : Decode the frames of a video.
    calm.extract.decode_clip : Decode the audio, the video, or both of a clip.

    Examples
    --------
    Half a second of stereo at 8 kHz, resampled to 16 kHz:

    >>> import numpy as np
    >>> from calm.extract import read_waveform
    >>> stereo = np.full((4000, 2), 0.5, dtype=np.float32)
    >>> clip = read_waveform((stereo, 8000), sampling_rate=16000)
    >>> clip.samples.shape, clip.seconds, round(clip.peak, 2)
    ((8000,), 0.5, 0.5)
    """
    try:
        with _open_sound(audio, sampling_rate) as sound:
            return _decode_sound(sound, sampling_rate, max_seconds)
    except MemoryError as error:
        raise AudioError("not enough memory to decode it") from error


def audio_duration(audio: Audio, sampling_rate: int) -> float:
    """Read the length of a clip in seconds from its header; 0 where the length is unknown.

    Examples
    --------
    >>> audio_duration((np.zeros(4000), 8000), 16000)
    0.5
    """
    try:
        if isinstance(audio, str | Path) and Path(audio).suffix.lower() in CONTAINER_SUFFIXES:
            return container_duration(Path(audio))  # works without a decoder for the stream
        with _open_sound(audio, sampling_rate) as sound:
            return sound.seconds
    except (AudioError, VideoError, OSError, ImportError, MemoryError):  # reported when the clip is decoded
        return 0.0


@contextmanager
def _open_sound(audio: Audio, sampling_rate: int) -> Iterator[Sound]:
    """Open a file or an array as a stream of blocks, and check its sampling rate."""
    if not isinstance(audio, str | Path):
        yield _wrap_array(audio, sampling_rate)
    elif Path(audio).suffix.lower() in CONTAINER_SUFFIXES:
        try:
            with open_soundtrack(Path(audio)) as sound:
                check_rate(sound.rate)
                yield sound
        except (VideoError, ImportError) as error:
            raise AudioError(str(error)) from error
    else:
        from calm.extract.media import sndfile

        with sndfile.open_sound(Path(audio), AudioError) as sound:
            check_rate(sound.rate)
            yield sound


def _wrap_array(audio: Any, sampling_rate: int) -> Sound:
    """Make a stream of one block from an array, or from an array with its sampling rate."""
    array, rate = audio if isinstance(audio, tuple) and len(audio) == 2 else (audio, sampling_rate)
    check_rate(rate)
    try:
        samples = _to_float32(np.asarray(array))
    except ValueError as error:
        raise error if isinstance(error, AudioError) else AudioError(f"not an array of samples: {error}") from error
    return Sound(rate, len(samples) / rate, iter([samples]))


def check_rate(rate: Any) -> None:
    """Raise an error for a sampling rate that no recorder has."""
    if not is_valid_rate(rate) or not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
        raise AudioError(f"invalid sampling rate of {rate} Hz: expected 1 Hz to 10 MHz")


def _to_float32(samples: NDArray[Any]) -> NDArray[np.float32]:
    """Convert ``(samples,)`` or ``(samples, channels)`` to float32 ``(samples, channels)``."""
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or samples.shape[1] > max(samples.shape[0], 1):
        advice = "; transpose it if its channels come first" if samples.ndim == 2 else ""
        raise AudioError(f"array of shape {samples.shape}: expected (samples,) or (samples, channels){advice}")
    if samples.size == 0:
        raise AudioError("no samples in it")
    if np.issubdtype(samples.dtype, np.signedinteger):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if np.issubdtype(samples.dtype, np.floating):
        with np.errstate(over="ignore"):  # the overflow becomes infinity, which is rejected later
            return samples.astype(np.float32)
    raise AudioError(f"samples of dtype {samples.dtype}: expected floating point or signed integers")


def _decode_sound(sound: Sound, sampling_rate: int, max_seconds: float | None) -> DecodedClip:
    """Decode, mix down, resample, cut and pad."""
    max_samples = sys.maxsize if max_seconds is None else math.ceil((max_seconds + _MARGIN_SECONDS) * sound.rate)
    peak, n_decoded = np.float32(0), 0

    def mix_down() -> Iterator[NDArray[np.float32]]:
        """Yield mono blocks, up to ``max_samples``, and update the peak."""
        nonlocal peak, n_decoded
        for block in sound.blocks:
            with np.errstate(over="ignore", invalid="ignore"):  # gives infinity or NaN, which is rejected below
                mono = block[: max_samples - n_decoded].mean(axis=1, dtype=np.float32)
            peak, n_decoded = np.maximum(peak, np.abs(mono).max(initial=0)), n_decoded + len(mono)
            if n_decoded * sampling_rate > _MAX_SAMPLES * sound.rate:
                raise AudioError(f"more than {_MAX_SAMPLES} samples at {sampling_rate} Hz: set max_seconds")
            yield mono
            if n_decoded >= max_samples:
                return

    samples = np.concatenate(list(_resample(mix_down(), sound.rate, sampling_rate)))
    if n_decoded == 0:
        raise AudioError("no samples in it")
    if not np.isfinite(peak) or not np.isfinite(samples).all():
        raise AudioError("it contains NaN or infinite samples")
    if max_seconds is not None:
        samples = samples[: round(max_seconds * sampling_rate)]
    n_padding = round(MIN_SECONDS * sampling_rate) - len(samples)
    if n_padding > 0:
        samples = np.pad(samples, (0, n_padding))
    decoded_seconds = n_decoded / sound.rate
    return DecodedClip(
        samples,
        None,
        max(sound.seconds, decoded_seconds),
        float(peak),
        decoded_seconds=decoded_seconds if sound.has_exact_length else math.nan,
    )


def _resample(blocks: Iterator[NDArray[np.float32]], rate: float, sampling_rate: int) -> Iterator[NDArray[np.float32]]:
    """Resample a stream of mono blocks; the result is bit-identical to resampling all of it at once."""
    nothing = np.empty(0, dtype=np.float32)
    yield nothing
    if rate == sampling_rate:
        yield from blocks
        return
    import soxr

    what_failed = f"cannot resample from {rate} Hz"
    with wrap_library_errors(AudioError, what_failed):
        stream = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32")
    for block in blocks:
        with wrap_library_errors(AudioError, what_failed):
            resampled = stream.resample_chunk(block)
        yield resampled
    with wrap_library_errors(AudioError, what_failed):
        rest = stream.resample_chunk(nothing, last=True)
    yield rest
