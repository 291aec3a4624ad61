"""Noise sources without a pitch: air, water, fire and friction."""

from __future__ import annotations

import numpy as np

from calm.sounds.parts import (
    RATE,
    Source,
    Wave,
    apply_formants,
    bandpass,
    harmonics,
    phase,
    random_drift,
    random_impulses,
    sample_times,
)


def _hiss(rng: np.random.Generator, f: float, n: int) -> Wave:
    return bandpass(rng.normal(size=n), 1.5 * f, 8 * f, 1)


def _rumble(rng: np.random.Generator, f: float, n: int) -> Wave:
    return bandpass(rng.normal(size=n), 0.1 * f, 0.5 * f) * random_drift(rng, n, 3, 0.4)


def _wind(rng: np.random.Generator, f: float, n: int) -> Wave:
    noise, gust = rng.normal(size=n), random_drift(rng, n, 1.5, 1.0)
    low, high = bandpass(noise, 0.3 * f, 0.8 * f), bandpass(noise, 0.8 * f, 1.6 * f)
    return gust * (low + high * np.clip(gust - 0.7, 0, 2))


def _wash(rng: np.random.Generator, f: float, n: int) -> Wave:
    swell = np.sin(phase(rng.uniform(0.25, 0.7), n) / 2 + rng.uniform(0, 3)) ** 2
    return (
        bandpass(rng.normal(size=n), 0.3 * f, 3 * f, 1) * (0.1 + swell)
        + 0.3 * bandpass(rng.normal(size=n), 2 * f, 8 * f, 1) * swell**3
    )


def _crackle(rng: np.random.Generator, f: float, n: int) -> Wave:
    crackles = bandpass(random_impulses(rng, n, rng.uniform(10, 45)), 0.7 * f, 2.5 * f, 1)
    return crackles + 0.004 * bandpass(rng.normal(size=n), 50, f)


def _patter(rng: np.random.Generator, f: float, n: int) -> Wave:
    return bandpass(random_impulses(rng, n, rng.uniform(300, 1500)), 0.8 * f, 4 * f, 1)


def _bubbles(rng: np.random.Generator, f: float, n: int) -> Wave:
    """Add up short decaying tones that rise in frequency, at random times."""
    wave = np.zeros(n)
    for start in rng.integers(0, n, int(rng.uniform(8, 25) * n / RATE) + 1):
        length = min(n - start, int(RATE * rng.uniform(0.02, 0.08)))
        time = sample_times(length)
        frequency = f * rng.uniform(0.6, 1.7) * (1 + rng.uniform(1, 6) * time / 0.1)
        wave[start : start + length] += rng.uniform(0.2, 1) * np.sin(phase(frequency, length)) * np.exp(-time * 50)
    return wave


def _scrape(rng: np.random.Generator, f: float, n: int) -> Wave:
    grain = np.abs(bandpass(rng.normal(size=n), 20, rng.uniform(60, 120)))
    return bandpass(rng.normal(size=n) * grain, 0.6 * f, 3 * f)


def _squeak(rng: np.random.Generator, f: float, n: int) -> Wave:
    frequency = 2 * f * random_drift(rng, n, 12, 0.12)
    return harmonics(rng, np.minimum(frequency, 6000), 1, highest=5) * random_drift(rng, n, 10, 0.9)


def _static(rng: np.random.Generator, f: float, n: int) -> Wave:
    hold = max(1, int(RATE / (4 * f)))  # samples for which each random sign is held
    return np.repeat(np.sign(rng.normal(size=n // hold + 1)), hold)[:n] * (rng.random(n) < 0.9)


def _breath(rng: np.random.Generator, f: float, n: int) -> Wave:
    cycle = np.abs(np.sin(phase(rng.uniform(0.5, 1.2), n) / 2 + rng.uniform(0, 3)))
    return apply_formants(rng.normal(size=n), [f, 2.3 * f, 4 * f]) * cycle**2


#: Sources of this module by name.
NOISES: dict[str, Source] = {
    "hiss": _hiss,
    "rumble": _rumble,
    "wind": _wind,
    "wash": _wash,
    "crackle": _crackle,
    "patter": _patter,
    "bubbles": _bubbles,
    "scrape": _scrape,
    "squeak": _squeak,
    "static": _static,
    "breath": _breath,
}
