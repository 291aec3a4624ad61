"""Sustained sources with a pitch: tones, chords, sirens and melodies."""

from __future__ import annotations

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Source, Wave, bandpass, harmonics, phase, random_drift


def _tone(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, np.full(n, f), rng.uniform(2, 3), highest=4)


def _whistle(rng: np.random.Generator, f: float, n: int) -> Wave:
    vibrato = 1 + rng.uniform(0.005, 0.03) * np.sin(phase(rng.uniform(4, 7), n))
    frequency = 2 * f * vibrato * random_drift(rng, n, 2, 0.03)
    return np.sin(phase(frequency, n)) + rng.uniform(0.1, 0.4) * bandpass(rng.normal(size=n), 1.6 * f, 2.6 * f)


def _organ(rng: np.random.Generator, f: float, n: int) -> Wave:
    return np.sum(
        [harmonics(rng, np.full(n, f * k), 1.5, highest=5) for k in (0.5, 1, 1.5, 2) if rng.random() < 0.8 or k == 1],
        axis=0,
    )


def _reed(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, f * random_drift(rng, n, 5, 0.01), rng.uniform(0.6, 1.2), step=2)


def _buzz(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, f / 2 * random_drift(rng, n, 3, 0.02), rng.uniform(0.3, 0.9), highest=40)


def _chord(rng: np.random.Generator, f: float, n: int) -> Wave:
    third = 2 ** (rng.choice([3, 4, 5]) / 12)
    ratios = (1, third, 2 ** (rng.choice([7, 9, 10]) / 12))
    return np.sum([harmonics(rng, np.full(n, f * r), 1.5, highest=6) for r in ratios], axis=0)


def _beat(rng: np.random.Generator, f: float, n: int) -> Wave:
    offset = rng.uniform(4, 15)
    return harmonics(rng, np.full(n, f), 2, highest=3) + harmonics(rng, np.full(n, f + offset), 2, highest=3)


def _siren(rng: np.random.Generator, f: float, n: int) -> Wave:
    swing = signal.sawtooth(phase(rng.uniform(0.4, 1.5), n) + rng.uniform(0, 6), rng.choice([0.5, 0.8, 0.2]))
    return harmonics(rng, f * 2 ** (rng.uniform(0.4, 0.8) * swing), rng.uniform(0.8, 2), highest=8)


def _glide(rng: np.random.Generator, f: float, n: int) -> Wave:
    octaves = rng.choice([-1, 1]) * rng.uniform(0.6, 1.2)
    return harmonics(rng, f * 2 ** (octaves * np.linspace(-1, 1, n)), rng.uniform(1.5, 3), highest=4)


def _warble(rng: np.random.Generator, f: float, n: int) -> Wave:
    return np.sin(phase(f * (1 + rng.uniform(0.1, 0.4) * np.sin(phase(rng.uniform(8, 25), n))), n))


def _melody(rng: np.random.Generator, f: float, n: int) -> Wave:
    length = int(RATE * rng.uniform(0.08, 0.25))
    notes = f * 2 ** (rng.integers(-5, 8, n // length + 1) / 12)
    return harmonics(rng, np.repeat(notes, length)[:n], rng.uniform(1, 2), step=rng.choice([1, 2]), highest=8)


def _mosquito(rng: np.random.Generator, f: float, n: int) -> Wave:
    frequency = f * random_drift(rng, n, 4, 0.15)
    return harmonics(rng, frequency, 0.8, highest=10) * random_drift(rng, n, 3, 0.8)


def _alarm(rng: np.random.Generator, f: float, n: int) -> Wave:
    alternation = signal.square(phase(rng.uniform(2, 8), n))
    return harmonics(rng, f * np.where(alternation > 0, 1, rng.uniform(1.2, 1.6)), 0.7, step=2, highest=12)


#: Sources of this module by name.
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
