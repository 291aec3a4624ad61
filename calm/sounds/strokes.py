"""Percussive sources: one stroke that decays, such as a bell, a pluck or a clap."""

from __future__ import annotations

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Source, Wave, bandpass, decaying_partials, harmonics, phase, sample_times


def _bell(rng: np.random.Generator, f: float, n: int) -> Wave:
    return decaying_partials(rng, f, n, [0.5, 1, 1.19, 1.5, 2, 2.5, 2.67, 4.2, 5.4], rng.uniform(1.5, 4))


def _gong(rng: np.random.Generator, f: float, n: int) -> Wave:
    ratios = np.sort(rng.uniform(0.5, 6, 18)).tolist()
    return decaying_partials(rng, f / 2, n, ratios, rng.uniform(0.8, 2)) * (1 - np.exp(-40 * sample_times(n)))


def _knock(rng: np.random.Generator, f: float, n: int) -> Wave:
    return decaying_partials(rng, f, n, [1, 1.6, 2.3, 3.1], rng.uniform(35, 70)) + 0.2 * _click(rng, 2 * f, n)


def _glass(rng: np.random.Generator, f: float, n: int) -> Wave:
    return decaying_partials(rng, 2 * f, n, [1, 1.7, 2.4, 3.3, 4.5], rng.uniform(6, 14))


def _marimba(rng: np.random.Generator, f: float, n: int) -> Wave:
    return decaying_partials(rng, f, n, [1, 3.9, 9.2], rng.uniform(6, 12))


def _pluck(rng: np.random.Generator, f: float, n: int) -> Wave:
    """Synthesize a plucked string (Karplus and Strong, 1983): a noise burst in a damped feedback delay line."""
    period = max(2, int(RATE / f))
    excitation = np.zeros(n)
    excitation[: min(n, period)] = rng.uniform(-1, 1, min(n, period))
    gain = rng.uniform(0.985, 0.998)
    feedback = np.zeros(period + 2)
    feedback[0], feedback[period], feedback[period + 1] = 1, -0.5 * gain, -0.5 * gain
    return signal.lfilter([1.0], feedback, excitation)


def _drum(rng: np.random.Generator, f: float, n: int) -> Wave:
    time = sample_times(n)
    skin = np.sin(phase(f / 3 * (1 + 2 * np.exp(-time * rng.uniform(20, 50))), n)) * np.exp(-time * rng.uniform(8, 18))
    return skin + 0.3 * bandpass(rng.normal(size=n), f, 6 * f) * np.exp(-time * rng.uniform(20, 50))


def _click(rng: np.random.Generator, f: float, n: int) -> Wave:
    impulse = np.zeros(n)
    impulse[0] = 1
    return bandpass(impulse, 0.7 * f, 1.6 * f, 1) * 30


def _clap(rng: np.random.Generator, f: float, n: int) -> Wave:
    time, envelope = sample_times(n), np.zeros(n)
    for start in rng.uniform(0, 0.03, 3):
        envelope += (time >= start) * np.exp(-np.maximum(time - start, 0) * rng.uniform(60, 120))
    return bandpass(rng.normal(size=n), 0.7 * f, 3 * f) * envelope


def _splash(rng: np.random.Generator, f: float, n: int) -> Wave:
    time = sample_times(n)
    return bandpass(rng.normal(size=n), 0.8 * f, 5 * f) * (1 - np.exp(-time * 80)) * np.exp(-time * rng.uniform(6, 12))


def _laser(rng: np.random.Generator, f: float, n: int) -> Wave:
    time = sample_times(n)
    frequency = f * (0.3 + 3 * np.exp(-time * rng.uniform(8, 20)))
    return harmonics(rng, np.minimum(frequency, 7000), 1.2, highest=3) * np.exp(-time * rng.uniform(4, 8))


def _chirp(rng: np.random.Generator, f: float, n: int) -> Wave:
    time, length = sample_times(n), rng.uniform(0.06, 0.15)
    bend = rng.uniform(0.5, 1.2) * rng.choice([-1, 1])
    frequency = 2 * f * 2 ** (bend * np.minimum(time / length, 1))
    return np.sin(phase(np.minimum(frequency, 7500), n)) * np.exp(-(((time - length / 2) / (0.4 * length)) ** 2))


#: Sources of this module by name.
STROKES: dict[str, Source] = {
    "bell": _bell,
    "gong": _gong,
    "knock": _knock,
    "glass": _glass,
    "marimba": _marimba,
    "pluck": _pluck,
    "drum": _drum,
    "click": _click,
    "clap": _clap,
    "splash": _splash,
    "laser": _laser,
    "chirp": _chirp,
}
