"""Sources that turn over: motors, rotors and their like."""

from __future__ import annotations

import numpy as np
from scipy import signal

from calm.sounds.parts import Source, Wave, band, harmonics, phase, pulse_train, wander


def _motor(rng: np.random.Generator, f: float, n: int) -> Wave:
    fires = pulse_train(rng, f / 6 * wander(rng, n, 3, 0.04), 0.3)
    return band(fires, 0.2 * f, 1.5 * f, 1) + 0.005 * band(rng.normal(size=n), 0.5 * f, 4 * f)


def _rotor(rng: np.random.Generator, f: float, n: int) -> Wave:
    beat = np.clip(np.sin(phase(rng.uniform(8, 20) * wander(rng, n, 1, 0.03), n)), 0, None) ** 2
    return band(rng.normal(size=n), 0.2 * f, 2 * f, 1) * (0.1 + beat)


def _saw(rng: np.random.Generator, f: float, n: int) -> Wave:
    own = f / 4 * wander(rng, n, 2, 0.15)
    return np.tanh(3 * harmonics(rng, own, 0.5, most=30)) + 0.5 * band(rng.normal(size=n), f, 5 * f, 1)


def _rattle(rng: np.random.Generator, f: float, n: int) -> Wave:
    fires = pulse_train(rng, rng.uniform(12, 25) * wander(rng, n, 10, 0.3), 0.6)
    return band(fires, 0.9 * f, 1.2 * f, 1) + band(fires, 2.1 * f, 2.6 * f, 1)


def _drill(rng: np.random.Generator, f: float, n: int) -> Wave:
    hammer = signal.square(phase(rng.uniform(20, 35), n), 0.4) > 0
    return (harmonics(rng, np.full(n, f / 3), 0.4, most=30) + rng.normal(size=n)) * hammer


def _mains(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, np.full(n, f / 5), rng.uniform(0.8, 1.4), every=2, most=20)


ENGINES: dict[str, Source] = {
    "motor": _motor,
    "rotor": _rotor,
    "saw": _saw,
    "rattle": _rattle,
    "drill": _drill,
    "mains": _mains,
}
