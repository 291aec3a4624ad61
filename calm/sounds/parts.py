"""What sources of sound are made of: oscillators, partials, impulses, bands and resonances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import signal

RATE = 16000
Wave = NDArray[np.float64]
#: From a random generator, a pitch in Hz (the fundamental of what has one, the middle of the band of what has not) and
#: a number of samples at :data:`RATE` to a wave of any level.
Source = Callable[[np.random.Generator, float, int], Wave]


def seconds(n: int) -> Wave:
    """Return the time of each sample."""
    return np.arange(n) / RATE


def band(x: Wave, low: float, high: float, order: int = 2) -> Wave:
    """Keep a band of frequencies, given in Hz; what lies beyond the audible range is moved inside it."""
    top = 0.98 * RATE / 2
    low = float(np.clip(low, 20, 0.9 * top))
    high = float(np.clip(high, 1.05 * low, top))
    return signal.sosfilt(signal.butter(order, [low, high], "band", fs=RATE, output="sos"), x)


def wander(rng: np.random.Generator, n: int, rate: float, depth: float) -> Wave:
    """Return a slowly changing factor around one: ``depth`` octaves up and down, at about ``rate`` Hz."""
    knots = max(4, int(n / RATE * rate) + 3)
    return 2 ** (depth * np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.normal(size=knots)))


def phase(frequency: Wave | float, n: int) -> Wave:
    """Return the phase of an oscillator whose frequency may change, in radians."""
    return 2 * np.pi * np.cumsum(np.broadcast_to(frequency, n)) / RATE


def harmonics(rng: np.random.Generator, frequency: Wave, slope: float, every: int = 1, most: int = 24) -> Wave:
    """Add up harmonics that fall off as ``k ** -slope``."""
    n, angle, top = len(frequency), phase(frequency, len(frequency)), float(frequency.max())
    wave = np.zeros(n)
    for k in range(1, most + 1, every):
        if k * top < 0.95 * RATE / 2:
            wave += k**-slope * rng.uniform(0.6, 1) * np.sin(k * angle + rng.uniform(0, 2 * np.pi))
    return wave


def partials(rng: np.random.Generator, f: float, n: int, ratios: list[float], decay: float) -> Wave:
    """Add up partials that die away, the higher the sooner; ``decay`` in 1/s."""
    time, wave = seconds(n), np.zeros(n)
    for ratio in ratios:
        own = f * ratio * rng.uniform(0.99, 1.01)
        if own < 0.95 * RATE / 2:
            fall = decay * (0.5 + 0.5 * ratio) * rng.uniform(0.7, 1.4)
            wave += rng.uniform(0.4, 1) / ratio**0.5 * np.exp(-fall * time) * np.sin(2 * np.pi * own * time)
    return wave


def impulses(rng: np.random.Generator, n: int, rate: float) -> Wave:
    """Return single samples at random times, ``rate`` a second on average."""
    wave = np.zeros(n)
    count = int(rng.poisson(rate * n / RATE)) + 1
    np.add.at(wave, rng.integers(0, n, count), rng.normal(size=count) * np.exp(0.5 * rng.normal(size=count)))
    return wave


def pulse_train(rng: np.random.Generator, frequency: Wave, jitter: float) -> Wave:
    """Return one impulse a cycle, of uneven strength."""
    cycles = np.floor(phase(frequency, len(frequency)) / (2 * np.pi))
    fires = np.diff(cycles, prepend=cycles[0]) > 0
    return fires * (1 + jitter * rng.normal(size=len(frequency)))


def formants(wave: Wave, centres: list[float]) -> Wave:
    """Pass a wave through resonances, as a mouth does."""
    return np.sum([band(wave, 0.92 * c, 1.08 * c, 1) / (1 + i) for i, c in enumerate(centres)], axis=0)


def vowel_formants(rng: np.random.Generator) -> list[float]:
    """Draw the resonances of a vowel."""
    return [rng.uniform(280, 850), rng.uniform(900, 2300), rng.uniform(2300, 3300)]


def glottis(rng: np.random.Generator, f: float, n: int, roughness: float = 0.03) -> Wave:
    """Return the buzz of vocal folds."""
    own = f * wander(rng, n, 5, roughness)
    return pulse_train(rng, own, 3 * roughness) + 0.01 * rng.normal(size=n)
