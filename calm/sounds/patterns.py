"""Temporal patterns: when a source sounds in a clip, and how loud."""

from __future__ import annotations

import numpy as np

from calm.sounds.parts import RATE, Wave, phase, random_drift, sample_times
from calm.sounds.sources import PERCUSSIVE_SOURCES, SOURCES

#: Names of the patterns. A sustained source is multiplied by an envelope; a percussive source starts at every event.
PATTERNS = (
    "steady", "swelling", "fading", "once", "pulsing", "trembling", "stuttering", "hastening", "slowing", "paired",
)  # fmt: skip
#: Patterns that sound the same at every speed.
PATTERNS_WITHOUT_SPEED = ("steady", "swelling", "fading", "once")

#: Strokes per second of percussive sources in patterns without a speed: a roll, and rows that grow or fade.
_STROKES_PER_SECOND = {"steady": 14.0, "swelling": 5.0, "fading": 5.0}
#: An intermittent source may sound only in the gaps of a pattern. It is then drawn again, until its peak is audible.
_MAX_ATTEMPTS, _AUDIBLE_PEAK = 20, 0.02
_MAX_STROKE_SAMPLES = 4 * RATE  #: percussive sources are silent after 4 s


def play_pattern(rng: np.random.Generator, source: str, pattern: str, pitch: float, rate: float, n: int) -> Wave:
    """Synthesize ``n`` samples of a source in a pattern of ``rate`` events per second."""
    if source in PERCUSSIVE_SOURCES:
        return _repeat_strokes(rng, source, pattern, pitch, rate, n)
    for _ in range(_MAX_ATTEMPTS):
        wave = SOURCES[source](rng, pitch, n) * _make_envelope(rng, pattern, rate, n)
        if np.abs(wave).max(initial=0.0) > _AUDIBLE_PEAK:
            break
    return wave


def _repeat_strokes(rng: np.random.Generator, source: str, pattern: str, pitch: float, rate: float, n: int) -> Wave:
    """Add up strokes of a percussive source, one per event."""
    wave = np.zeros(n)
    for start, level in _draw_events(rng, pattern, rate, n / RATE):
        first = int(start * RATE)
        if first < n:
            stroke = SOURCES[source](rng, pitch * 2 ** rng.uniform(-0.03, 0.03), min(n - first, _MAX_STROKE_SAMPLES))
            wave[first : first + len(stroke)] += level * stroke
    return wave


def _draw_events(rng: np.random.Generator, pattern: str, rate: float, seconds: float) -> list[tuple[float, float]]:
    """Draw the start (in seconds) and the level of each event in a clip."""
    if pattern == "once":
        return [(rng.uniform(0, 0.5) * seconds, 1.0)]
    if pattern == "trembling":
        rate = 3 * rate
    elif pattern in _STROKES_PER_SECOND:
        rate = _STROKES_PER_SECOND[pattern]
    gaps = _draw_gaps(rng, pattern, rate, int(2 * rate * seconds) + 8)
    times = rng.uniform(0, min(0.15, 0.3 * seconds)) + np.concatenate(
        [[0], np.cumsum(gaps * rng.uniform(0.97, 1.03, len(gaps)))]
    )
    times = times[times < seconds]
    position = times / seconds
    levels = {"swelling": 0.1 + position, "fading": 1.1 - position}.get(pattern, np.ones(len(times)))
    return list(zip(times.tolist(), levels.tolist(), strict=True))


def _draw_gaps(rng: np.random.Generator, pattern: str, rate: float, n: int) -> Wave:
    """Draw the times between successive events, in seconds."""
    gaps = np.full(n, 1 / rate)
    if pattern == "stuttering":
        gaps = rng.exponential(1 / rate, n) + 0.03
    elif pattern == "hastening":
        gaps = 1.8 / rate * 0.82 ** np.arange(n) + 0.04
    elif pattern == "slowing":
        gaps = 0.35 / rate * 1.25 ** np.arange(n)
    elif pattern == "paired":
        gaps = np.where(np.arange(n) % 2 == 0, 0.25, 1.75) / rate
    return gaps


def _make_envelope(rng: np.random.Generator, pattern: str, rate: float, n: int) -> Wave:
    """Return the level of a sustained source at each sample."""
    time = sample_times(n)
    seconds = n / RATE
    if pattern == "steady":
        return random_drift(rng, n, 2, 0.1)
    if pattern == "swelling":
        return (time / seconds) ** rng.uniform(1, 2.5)
    if pattern == "fading":
        return np.exp(-time / seconds * rng.uniform(2.5, 5))
    if pattern == "once":
        width = rng.uniform(0.04, 0.12) * seconds
        return np.exp(-(((time - rng.uniform(0.2, 0.8) * seconds) / width) ** 2))
    if pattern == "trembling":
        return 0.5 + 0.5 * np.sin(phase(3 * rate, n) + rng.uniform(0, 6))
    if pattern in ("stuttering", "hastening", "slowing", "paired"):
        gate = np.zeros(n)
        width = 0.12 / rate if pattern == "paired" else rng.uniform(0.05, 0.1)
        for start, level in _draw_events(rng, pattern, rate, seconds):
            gate[int(start * RATE) : int((start + width) * RATE)] = level
        return _smooth_edges(gate)
    return _smooth_edges(((time * rate + rng.random()) % 1 < rng.uniform(0.35, 0.6)).astype(float))


def _smooth_edges(gate: Wave) -> Wave:
    """Smooth the edges of a gate, so that they do not click."""
    width = min(int(0.008 * RATE), len(gate))
    return np.convolve(gate, np.hanning(width) / np.hanning(width).sum(), "same")
