"""Patterns: when a source sounds and how loud, over the length of a clip."""

from __future__ import annotations

import numpy as np

from calm.sounds.parts import RATE, Wave, phase, random_drift, sample_times
from calm.sounds.sources import PERCUSSIVE_SOURCES, SOURCES

#: How lasting sources go on; struck ones are struck at the beginning of every event.
PATTERNS = (
    "steady", "swelling", "fading", "once", "pulsing", "trembling", "stuttering", "hastening", "slowing", "paired",
)  # fmt: skip

#: Strokes of what is struck, in patterns that have no speed: a roll, and rows that grow or fade.
_STROKES_A_SECOND = {"steady": 14.0, "swelling": 5.0, "fading": 5.0}
#: What sounds now and then may do so while a pattern is silent: it is drawn again then.
_TRIES, _AUDIBLE = 20, 0.02
_LONGEST_STROKE = 4 * RATE  #: samples; what is struck has died away by then


def play(rng: np.random.Generator, source: str, pattern: str, pitch: float, rate: float, n: int) -> Wave:
    """Let a source sound in a pattern of ``rate`` events a second, for ``n`` samples."""
    if source in PERCUSSIVE_SOURCES:
        return _strike(rng, source, pattern, pitch, rate, n)
    for _ in range(_TRIES):
        wave = SOURCES[source](rng, pitch, n) * _envelope(rng, pattern, rate, n)
        if np.abs(wave).max(initial=0.0) > _AUDIBLE:
            break
    return wave


def _strike(rng: np.random.Generator, source: str, pattern: str, pitch: float, rate: float, n: int) -> Wave:
    wave = np.zeros(n)
    for start, level in _events(rng, pattern, rate, n / RATE):
        at = int(start * RATE)
        if at < n:
            stroke = SOURCES[source](rng, pitch * 2 ** rng.uniform(-0.03, 0.03), min(n - at, _LONGEST_STROKE))
            wave[at : at + len(stroke)] += level * stroke
    return wave


def _events(rng: np.random.Generator, pattern: str, rate: float, length: float) -> list[tuple[float, float]]:
    """Return when strokes fall, in seconds, and how loud."""
    if pattern == "once":
        return [(rng.uniform(0, 0.5) * length, 1.0)]
    if pattern == "trembling":
        rate = 3 * rate
    elif pattern in _STROKES_A_SECOND:
        rate = _STROKES_A_SECOND[pattern]
    gaps = np.full(int(2 * rate * length) + 8, 1 / rate)
    if pattern == "stuttering":
        gaps = rng.exponential(1 / rate, len(gaps)) + 0.03
    elif pattern == "hastening":
        gaps = 1.8 / rate * 0.82 ** np.arange(len(gaps)) + 0.04
    elif pattern == "slowing":
        gaps = 0.35 / rate * 1.25 ** np.arange(len(gaps))
    elif pattern == "paired":
        gaps = np.where(np.arange(len(gaps)) % 2 == 0, 0.25, 1.75) / rate
    times = rng.uniform(0, min(0.15, 0.3 * length)) + np.concatenate(
        [[0], np.cumsum(gaps * rng.uniform(0.97, 1.03, len(gaps)))]
    )
    times = times[times < length]
    share = times / length
    levels = {"swelling": 0.1 + share, "fading": 1.1 - share}.get(pattern, np.ones(len(times)))
    return list(zip(times.tolist(), levels.tolist(), strict=True))


def _envelope(rng: np.random.Generator, pattern: str, rate: float, n: int) -> Wave:
    time = sample_times(n)
    length = n / RATE
    if pattern == "steady":
        return random_drift(rng, n, 2, 0.1)
    if pattern == "swelling":
        return (time / length) ** rng.uniform(1, 2.5)
    if pattern == "fading":
        return np.exp(-time / length * rng.uniform(2.5, 5))
    if pattern == "once":
        width = rng.uniform(0.04, 0.12) * length
        return np.exp(-(((time - rng.uniform(0.2, 0.8) * length) / width) ** 2))
    if pattern == "trembling":
        return 0.5 + 0.5 * np.sin(phase(3 * rate, n) + rng.uniform(0, 6))
    if pattern in ("stuttering", "hastening", "slowing", "paired"):
        gate = np.zeros(n)
        width = 0.12 / rate if pattern == "paired" else rng.uniform(0.05, 0.1)
        for start, level in _events(rng, pattern, rate, length):
            gate[int(start * RATE) : int((start + width) * RATE)] = level
        return _soft(gate)
    return _soft(((time * rate + rng.random()) % 1 < rng.uniform(0.35, 0.6)).astype(float))


def _soft(gate: Wave) -> Wave:
    """Round the edges of a gate, so that they do not click."""
    width = min(int(0.008 * RATE), len(gate))
    return np.convolve(gate, np.hanning(width) / np.hanning(width).sum(), "same")
