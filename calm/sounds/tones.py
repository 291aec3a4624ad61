"""Sources with a pitch that lasts."""

from __future__ import annotations

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Source, Wave, band, harmonics, phase, wander


def _tone(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, np.full(n, f), rng.uniform(2, 3), most=4)


def _whistle(rng: np.random.Generator, f: float, n: int) -> Wave:
    own = 2 * f * (1 + rng.uniform(0.005, 0.03) * np.sin(phase(rng.uniform(4, 7), n))) * wander(rng, n, 2, 0.03)
    return np.sin(phase(own, n)) + rng.uniform(0.1, 0.4) * band(rng.normal(size=n), 1.6 * f, 2.6 * f)


def _organ(rng: np.random.Generator, f: float, n: int) -> Wave:
    return np.sum(
        [harmonics(rng, np.full(n, f * k), 1.5, most=5) for k in (0.5, 1, 1.5, 2) if rng.random() < 0.8 or k == 1],
        axis=0,
    )


def _reed(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, f * wander(rng, n, 5, 0.01), rng.uniform(0.6, 1.2), every=2)


def _buzz(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, f / 2 * wander(rng, n, 3, 0.02), rng.uniform(0.3, 0.9), most=40)


def _chord(rng: np.random.Generator, f: float, n: int) -> Wave:
    third = 2 ** (rng.choice([3, 4, 5]) / 12)
    ratios = (1, third, 2 ** (rng.choice([7, 9, 10]) / 12))
    return np.sum([harmonics(rng, np.full(n, f * r), 1.5, most=6) for r in ratios], axis=0)


def _beat(rng: np.random.Generator, f: float, n: int) -> Wave:
    apart = rng.uniform(4, 15)
    return harmonics(rng, np.full(n, f), 2, most=3) + harmonics(rng, np.full(n, f + apart), 2, most=3)


def _siren(rng: np.random.Generator, f: float, n: int) -> Wave:
    swing = signal.sawtooth(phase(rng.uniform(0.4, 1.5), n) + rng.uniform(0, 6), rng.choice([0.5, 0.8, 0.2]))
    return harmonics(rng, f * 2 ** (rng.uniform(0.4, 0.8) * swing), rng.uniform(0.8, 2), most=8)


def _glide(rng: np.random.Generator, f: float, n: int) -> Wave:
    away = rng.choice([-1, 1]) * rng.uniform(0.6, 1.2)
    return harmonics(rng, f * 2 ** (away * np.linspace(-1, 1, n)), rng.uniform(1.5, 3), most=4)


def _warble(rng: np.random.Generator, f: float, n: int) -> Wave:
    return np.sin(phase(f * (1 + rng.uniform(0.1, 0.4) * np.sin(phase(rng.uniform(8, 25), n))), n))


def _melody(rng: np.random.Generator, f: float, n: int) -> Wave:
    length = int(RATE * rng.uniform(0.08, 0.25))
    notes = f * 2 ** (rng.integers(-5, 8, n // length + 1) / 12)
    return harmonics(rng, np.repeat(notes, length)[:n], rng.uniform(1, 2), every=rng.choice([1, 2]), most=8)


def _mosquito(rng: np.random.Generator, f: float, n: int) -> Wave:
    own = f * wander(rng, n, 4, 0.15)
    return harmonics(rng, own, 0.8, most=10) * wander(rng, n, 3, 0.8)


def _alarm(rng: np.random.Generator, f: float, n: int) -> Wave:
    turns = signal.square(phase(rng.uniform(2, 8), n))
    return harmonics(rng, f * np.where(turns > 0, 1, rng.uniform(1.2, 1.6)), 0.7, every=2, most=12)


TONES: dict[str, Source] = {
    "tone": _tone,
    "whistle": _whistle,
    "organ": _organ,
    "reed": _reed,
    "buzz": _buzz,
    "chord": _chord,
    "beat": _beat,
    "siren": _siren,
    "glide": _glide,
    "warble": _warble,
    "melody": _melody,
    "mosquito": _mosquito,
    "alarm": _alarm,
}
