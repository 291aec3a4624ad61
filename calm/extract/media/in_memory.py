"""Entries of a sequence of clips: paths, arrays, pairs of an array and its rate, and clips."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.extract.media.audio import check_rate
from calm.extract.media.clip import Clip, format_clip_name, replace_surrogates
from calm.extract.media.content import compute_content_if_readable
from calm.extract.media.file import expand_user, is_url

#: Number of columns up to which a long two-dimensional array is one clip with channels, and not one clip per row.
_MAX_CHANNELS = 32

#: Largest plausible absolute value of floating-point samples, 18 dB above full scale. Recordings exceed full scale by a
#: few dB where a mix or a lossy codec overshoots. 16-bit values stored as floats exceed 8 unless they are silence.
_MAX_PEAK = 8.0


def list_entries(source: Any) -> list[Any]:
    """Return the entries of a sequence of clips.

    Raises
    ------
    ValueError
        If ``source`` is a single clip, or no sequence.
    """
    if getattr(source, "ndim", None) == 2 and hasattr(source, "iloc"):
        raise ValueError("expected a sequence of clips, got a data frame: pass the column that holds the clips")
    if isinstance(source, Clip | Mapping | bytes) or _is_pair(source) or _is_waveform(source):
        raise ValueError("expected a sequence of clips, got one clip: for a single clip, pass [clip]")
    if not isinstance(source, Iterable):
        raise ValueError(f"expected a sequence of clips, got {type(source).__name__}")
    return list(source)


def _is_pair(source: Any) -> bool:
    """Return whether an object is one waveform with its sampling rate, as soundfile and torchaudio return it."""
    if not isinstance(source, tuple | list) or len(source) != 2:
        return False
    return isinstance(source[1], Real) and not isinstance(source[0], str | Path | Real)


def _is_waveform(source: Any) -> bool:
    """Return whether an object is the samples of one clip. A two-dimensional array is usually one clip per row."""
    if isinstance(source, Sequence) and not hasattr(source, "ndim"):
        return len(source) > 0 and all(isinstance(entry, Real) for entry in source)
    if not hasattr(source, "ndim") or not hasattr(source, "shape"):
        return False
    array = convert_to_array(source)
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
        return False
    return (array.ndim < 2 and array.size > 0) or (array.ndim == 2 and array.shape[1] <= _MAX_CHANNELS < array.shape[0])


def make_clip(entry: Any, index: int, sampling_rate: float | None) -> Clip:
    """Make a clip of one entry of a sequence.

    What is no audio becomes a clip too: it fails when it is decoded, and does not stop the other clips.

    Parameters
    ----------
    entry : object
        A clip, a path, an array, a pair, or a dictionary as Hugging Face datasets give for a column of audio.
    index : int
        Index in the sequence; the name of a clip without a file contains it.
    sampling_rate : float or None
        Sampling rate of an array that has none, in Hz.
    """
    if isinstance(entry, Clip):
        if isinstance(entry.audio, str | Path) or sampling_rate is None:
            return entry
        return replace(entry, audio=_add_rate(entry.audio, sampling_rate))
    if isinstance(entry, str | os.PathLike):
        path = os.fspath(entry)
        if is_url(path):
            return Clip(path, replace_surrogates(path))
        return Clip(expand_user(path), format_clip_name(expand_user(path)))
    if isinstance(entry, Mapping):
        entry = _unpack_mapping(entry)
        if isinstance(entry, str | Path):
            return make_clip(entry, index, sampling_rate)
    audio = _add_rate(entry, sampling_rate)
    # A digest is part of the name, so that other samples count as another clip.
    digest = compute_content_if_readable(audio).digest
    return Clip(audio, f"clip {index} ({digest.hex()[:8]})" if digest else f"clip {index}")


def _unpack_mapping(entry: Mapping[Any, Any]) -> Any:
    """Return the pair or the path of a dictionary with "array" and "sampling_rate", or with "path"."""
    if entry.get("array") is not None:
        return entry["array"] if entry.get("sampling_rate") is None else (entry["array"], entry["sampling_rate"])
    return entry["path"] if isinstance(entry.get("path"), str | Path) else entry


def _add_rate(audio: Any, sampling_rate: float | None) -> Any:
    """Convert samples to a NumPy array, paired with their sampling rate if it is known."""
    if _is_pair(audio) or (isinstance(audio, tuple) and len(audio) == 2):
        return convert_to_array(audio[0]), _convert_to_number(audio[1])
    array = convert_to_array(audio)
    return array if sampling_rate is None else (array, sampling_rate)


def convert_to_array(samples: Any) -> Any:
    """Convert a tensor or a list of numbers to a NumPy array. What is neither is returned as it is."""
    if type(samples).__module__.partition(".")[0] == "torch":
        samples = samples.detach().cpu()
        return (samples.float() if samples.is_floating_point() else samples).numpy()  # NumPy has no bfloat16
    if isinstance(samples, str | bytes | Mapping) or samples is None:
        return samples
    try:
        return np.asarray(samples)
    except (ValueError, TypeError):  # lists of different lengths
        return samples


def _convert_to_number(rate: Any) -> Any:
    """Convert a rate that is an array or tensor without dimensions, as in Hugging Face datasets, to a number."""
    return rate.item() if getattr(rate, "ndim", None) == 0 and hasattr(rate, "item") else rate


def warn_of_doubtful_arrays(clips: Iterable[Clip], sampling_rate: int) -> None:
    """Warn of arrays without a sampling rate, and of floating-point samples far outside [-1, 1].

    Parameters
    ----------
    clips : iterable of Clip
        Clips that a model is about to process.
    sampling_rate : int
        The model's sampling rate in Hz.

    Warns
    -----
    UserWarning
        Once for all clips of each kind.
    """
    arrays = [(clip, clip.audio) for clip in clips if not isinstance(clip.audio, str | Path)]
    if any(isinstance(audio, np.ndarray) for _, audio in arrays):
        # The text is always the same, so that Python shows it once per process.
        warnings.warn(
            f"arrays without a sampling rate are taken to be at the model's rate of {sampling_rate} Hz, and results at "
            f"another rate are wrong: pass sampling_rate in Hz, or pairs (array, sampling_rate)",
            stacklevel=2,
        )
    loud = [(clip, peak) for clip, audio in arrays if (peak := _float_peak(audio)) > _MAX_PEAK]
    if loud:
        clip, peak = loud[0]
        others = "" if len(loud) == 1 else f" (and {len(loud) - 1} more)"
        warnings.warn(
            f"{clip.name} has a peak of {peak:.5g}{others}, but floating-point samples are expected between -1 and 1: "
            f"divide samples of 16-bit audio by 32768",
            stacklevel=2,
        )


def _float_peak(audio: Any) -> float:
    """Return the largest absolute value of floating-point samples; 0 for anything else."""
    samples: NDArray[Any] = audio[0] if isinstance(audio, tuple) and audio else audio
    if not isinstance(samples, np.ndarray) or not np.issubdtype(samples.dtype, np.floating) or samples.size == 0:
        return 0.0
    return float(max(samples.max(), -samples.min()))


def check_sampling_rate(sampling_rate: Any) -> None:
    """Raise an error if a sampling rate is given and is invalid."""
    if sampling_rate is not None:
        check_rate(sampling_rate)
