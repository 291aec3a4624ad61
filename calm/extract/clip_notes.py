"""Notes about clips that need a look: cut, truncated, very short or silent clips."""

from __future__ import annotations

import math
from collections.abc import Iterable

from calm.extract.media.audio import MIN_SECONDS

#: Tolerance in seconds before a clip counts as cut or truncated: lossy codecs pad or drop parts of a frame, and headers
#: round lengths.
_TOLERANCE_SECONDS = 0.1


def is_truncated(seconds: float, decoded_seconds: float, window_seconds: float) -> bool:
    """Return whether a file ends before the length that it declares, within the part that the model gets.

    Decoding stops shortly after the window, so a difference after that is no sign of truncation.

    Examples
    --------
    >>> is_truncated(5.0, 1.2, math.inf), is_truncated(600.0, 5.1, 5.0), is_truncated(5.0, math.nan, 5.0)
    (True, False, False)
    """
    return decoded_seconds < min(seconds, window_seconds) - _TOLERANCE_SECONDS


def is_cut(seconds: float, decoded_seconds: float, window_seconds: float) -> bool:
    """Return whether a clip was cut to the window: a truncated file that ends before the window is not cut.

    Examples
    --------
    >>> is_cut(600.0, 5.1, 5.0), is_cut(5.05, 5.05, 5.0), is_cut(600.0, 1.2, 5.0), is_cut(600.0, math.nan, 5.0)
    (True, False, False, True)
    """
    is_longer = seconds > window_seconds + _TOLERANCE_SECONDS
    return is_longer and not is_truncated(seconds, decoded_seconds, window_seconds)


def describe_clip(seconds: float, decoded_seconds: float, peak: float, window_seconds: float) -> tuple[str, ...]:
    """Describe what is unusual about the audio of a clip.

    Parameters
    ----------
    seconds : float
        Length of the clip in seconds before it is cut, according to its file. NaN means unknown.
    decoded_seconds : float
        Length in seconds that could be decoded. NaN means unknown.
    peak : float
        Largest absolute sample. NaN means no audio.
    window_seconds : float
        Maximum clip length in seconds; infinity means no limit.

    Returns
    -------
    tuple of str
        Short notes: truncated, cut, very short, digital silence. Empty if nothing is unusual.

    Examples
    --------
    >>> describe_clip(612.0, 5.1, 0.5, 5.0)
    ('cut to the first 5 s of 612.0 s',)
    >>> describe_clip(5.0, 1.2, 0.0, 5.0)
    ('truncated: the file ends after 1.2 s of 5.0 s', 'digital silence')
    >>> describe_clip(1 / 16000, 1 / 16000, 0.5, 5.0)
    ('only 0.06 ms long, padded to 0.1 s',)
    >>> describe_clip(2.0, 2.0, 0.5, 5.0)
    ()
    """
    notes = []
    available_seconds = seconds
    if is_truncated(seconds, decoded_seconds, window_seconds):
        available_seconds = decoded_seconds
        notes.append(f"truncated: the file ends after {decoded_seconds:.1f} s of {seconds:.1f} s")
    elif is_cut(seconds, decoded_seconds, window_seconds):
        notes.append(f"cut to the first {window_seconds:g} s of {seconds:.1f} s")
    has_audio = not math.isnan(peak)
    if has_audio and available_seconds < MIN_SECONDS:
        notes.append(f"only {1000 * available_seconds:.2f} ms long, padded to {MIN_SECONDS:g} s")
    if peak == 0:
        notes.append("digital silence")
    return tuple(notes)


def describe_clips(
    names: Iterable[str],
    seconds: Iterable[float],
    decoded_seconds: Iterable[float],
    peaks: Iterable[float],
    window_seconds: float,
) -> dict[str, tuple[str, ...]]:
    """Describe what is unusual about clips, by name; clips without a note are left out.

    Parameters
    ----------
    names : iterable of str
        Names of the clips. Clips with the same name, for example with different questions, share one entry.
    seconds, decoded_seconds, peaks : iterable of float
        Length, decoded length and peak of each clip, as in :func:`describe_clip`.
    window_seconds : float
        Maximum clip length in seconds; infinity means no limit.

    Returns
    -------
    dict of str to tuple of str
        Notes by name of the clip, in the order of the clips.

    Examples
    --------
    >>> describe_clips(["a.wav", "b.wav"], [1.0, 9.0], [1.0, 5.1], [0.5, 0.0], window_seconds=5.0)
    {'b.wav': ('cut to the first 5 s of 9.0 s', 'digital silence')}
    """
    notes: dict[str, tuple[str, ...]] = {}
    for name, length, decoded_length, peak in zip(names, seconds, decoded_seconds, peaks, strict=True):
        known = notes.get(name, ())
        described = describe_clip(length, decoded_length, peak, window_seconds)
        new = tuple(note for note in described if note not in known)
        if new:
            notes[name] = known + new
    return notes
