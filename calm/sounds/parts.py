"""Building blocks of the sources: oscillators, harmonics, impulses, band-pass filters and formants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import signal

#: Sampling rate of all synthesized sounds, in Hz.
RATE = 16000
#: Samples at :data:`RATE`, of shape ``(n_samples,)``.
Wave = NDArray[np.float64]
#: A function ``source(rng, f, n)`` that synthesizes ``n`` samples at any level. ``f`` is the pitch in Hz: the
#: fundamental of a pitched source, or the centre of the frequency band of any other source.
Source = Callable[[np.random.Generator, float, int], Wave]


def sample_times(n: int) -> Wave:
    """Return the time of each of ``n`` samples, in seconds."""
    return np.arange(n) / RATE


def bandpass(x: Wave, low: float, high: float, order: int = 2) -> Wave:
    """Apply a Butterworth band-pass; move edges (in Hz) outside 20 Hz to 7.8 kHz into that range."""
    top = 0.98 * RATE / 2
    low = float(np.clip(low, 20, 0.9 * top))
    high = float(np.clip(high, 1.05 * low, top))
    return signal.sosfilt(signal.butter(order, [low, high], "band", fs=RATE, output="sos"), x)


def random_drift(rng: np.random.Generator, n: int, rate: float, depth: float) -> Wave:
    """Return a slow random factor: log2 of it has standard deviation ``depth``, and it changes at about ``rate`` Hz."""
    knots = max(4, int(n / RATE * rate) + 3)
    return 2 ** (depth * np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.normal(size=knots)))


def phase(frequency: Wave | float, n: int) -> Wave:
    """Return the phase of an oscillator in radians; its frequency in Hz may differ from sample to sample."""
    return 2 * np.pi * np.cumsum(np.broadcast_to(frequency, n)) / RATE


def harmonics(rng: np.random.Generator, frequency: Wave, slope: float, step: int = 1, highest: int = 24) -> Wave:
    """Add up harmonics 1, 1 + step, ... up to ``highest``; harmonic ``k`` has an amplitude of about ``k ** -slope``."""
    n, angle, top = len(frequency), phase(frequency, len(frequency)), float(frequency.max())
    wave = np.zeros(n)
    for k in range(1, highest + 1, step):
        if k * top < 0.95 * RATE / 2:
            wave += k**-slope * rng.uniform(0.6, 1) * np.sin(k * angle + rng.uniform(0, 2 * np.pi))
    return wave


def decaying_partials(rng: np.random.Generator, f: float, n: int, ratios: list[float], decay: float) -> Wave:
    """Add up partials at multiples ``ratios`` of ``f``; high partials decay faster than ``decay`` (in 1/s)."""
    time, wave = sample_times(n), np.zeros(n)
    for ratio in ratios:
        frequency = f * ratio * rng.uniform(0.99, 1.01)
        if frequency < 0.95 * RATE / 2:
            damping = decay * (0.5 + 0.5 * ratio) * rng.uniform(0.7, 1.4)
            wave += rng.uniform(0.4, 1) / ratio**0.5 * np.exp(-damping * time) * np.sin(2 * np.pi * frequency * time)
    return wave


def random_impulses(rng: np.random.Generator, n: int, rate: float) -> Wave:
    """Return impulses at random times and of random amplitude, ``rate`` a second on average."""
    wave = np.zeros(n)
    count = int(rng.poisson(rate * n / RATE)) + 1
    np.add.at(wave, rng.integers(0, n, count), rng.normal(size=count) * np.exp(0.5 * rng.normal(size=count)))
    return wave


def pulse_train(rng: np.random.Generator, frequency: Wave, jitter: float) -> Wave:
    """Return one impulse per cycle; ``jitter`` is the standard deviation of its amplitude around 1."""
    cycles = np.floor(phase(frequency, len(frequency)) / (2 * np.pi))
    is_pulse = np.diff(cycles, prepend=cycles[0]) > 0
    return is_pulse * (1 + jitter * rng.normal(size=len(frequency)))


def apply_formants(wave: Wave, centres: list[float]) -> Wave:
    """Filter a wave with formants, the resonances of a vocal tract, at the given frequencies in Hz."""
    return np.sum([bandpass(wave, 0.92 * c, 1.08 * c, 1) / (1 + i) for i, c in enumerate(centres)], axis=0)


def draw_vowel_formants(rng: np.random.Generator) -> list[float]:
    """Draw the first three formant frequencies of a vowel, in Hz."""
    return [rng.uniform(280, 850), rng.uniform(900, 2300), rng.uniform(2300, 3300)]


def glottal_pulses(rng: np.random.Generator, f: float, n: int, roughness: float = 0.03) -> Wave:
    """Return the pulses of vocal folds, before any formant."""
    return pulse_train(rng, f * random_drift(rng, n, 5, roughness), 3 * roughness) + 0.01 * rng.normal(size=n)
