"""Sources that are struck or plucked: one stroke, which dies away."""

from __future__ import annotations

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Source, Wave, band, harmonics, partials, phase, seconds


def _bell(rng: np.random.Generator, f: float, n: int) -> Wave:
    return partials(rng, f, n, [0.5, 1, 1.19, 1.5, 2, 2.5, 2.67, 4.2, 5.4], rng.uniform(1.5, 4))


def _gong(rng: np.random.Generator, f: float, n: int) -> Wave:
    ratios = np.sort(rng.uniform(0.5, 6, 18)).tolist()
    return partials(rng, f / 2, n, ratios, rng.uniform(0.8, 2)) * (1 - np.exp(-40 * seconds(n)))


def _knock(rng: np.random.Generator, f: float, n: int) -> Wave:
    return partials(rng, f, n, [1, 1.6, 2.3, 3.1], rng.uniform(35, 70)) + 0.2 * _click(rng, 2 * f, n)


def _glass(rng: np.random.Generator, f: float, n: int) -> Wave:
    return partials(rng, 2 * f, n, [1, 1.7, 2.4, 3.3, 4.5], rng.uniform(6, 14))


def _marimba(rng: np.random.Generator, f: float, n: int) -> Wave:
    return partials(rng, f, n, [1, 3.9, 9.2], rng.uniform(6, 12))


def _pluck(rng: np.random.Generator, f: float, n: int) -> Wave:
    period = max(2, int(RATE / f))
    excitation = np.zeros(n)
    excitation[: min(n, period)] = rng.uniform(-1, 1, min(n, period))
    kept = rng.uniform(0.985, 0.998)
    feedback = np.zeros(period + 2)
    feedback[0], feedback[period], feedback[period + 1] = 1, -0.5 * kept, -0.5 * kept
    return signal.lfilter([1.0], feedback, excitation)


def _drum(rng: np.random.Generator, f: float, n: int) -> Wave:
    time = seconds(n)
    skin = np.sin(phase(f / 3 * (1 + 2 * np.exp(-time * rng.uniform(20, 50))), n)) * np.exp(-time * rng.uniform(8, 18))
    return skin + 0.3 * band(rng.normal(size=n), f, 6 * f) * np.exp(-time * rng.uniform(20, 50))


def _click(rng: np.random.Generator, f: float, n: int) -> Wave:
    one = np.zeros(n)
    one[0] = 1
    return band(one, 0.7 * f, 1.6 * f, 1) * 30


def _clap(rng: np.random.Generator, f: float, n: int) -> Wave:
    time, wave = seconds(n), np.zeros(n)
    for start in rng.uniform(0, 0.03, 3):
        wave += (time >= start) * np.exp(-np.maximum(time - start, 0) * rng.uniform(60, 120))
    return band(rng.normal(size=n), 0.7 * f, 3 * f) * wave


def _splash(rng: np.random.Generator, f: float, n: int) -> Wave:
    time = seconds(n)
    return band(rng.normal(size=n), 0.8 * f, 5 * f) * (1 - np.exp(-time * 80)) * np.exp(-time * rng.uniform(6, 12))


def _laser(rng: np.random.Generator, f: float, n: int) -> Wave:
    time = seconds(n)
    own = f * (0.3 + 3 * np.exp(-time * rng.uniform(8, 20)))
    return harmonics(rng, np.minimum(own, 7000), 1.2, most=3) * np.exp(-time * rng.uniform(4, 8))


def _chirp(rng: np.random.Generator, f: float, n: int) -> Wave:
    time, length = seconds(n), rng.uniform(0.06, 0.15)
    bend = rng.uniform(0.5, 1.2) * rng.choice([-1, 1])
    own = 2 * f * 2 ** (bend * np.minimum(time / length, 1))
    return np.sin(phase(np.minimum(own, 7500), n)) * np.exp(-(((time - length / 2) / (0.4 * length)) ** 2))


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
