"""Machine sounds: motors, rotors, saws and mains hum."""

from __future__ import annotations

import numpy as np
from scipy import signal

from calm.sounds.parts import Source, Wave, bandpass, harmonics, phase, pulse_train, random_drift


def _motor(rng: np.random.Generator, f: float, n: int) -> Wave:
    pulses = pulse_train(rng, f / 6 * random_drift(rng, n, 3, 0.04), 0.3)
    return bandpass(pulses, 0.2 * f, 1.5 * f, 1) + 0.005 * bandpass(rng.normal(size=n), 0.5 * f, 4 * f)


def _rotor(rng: np.random.Generator, f: float, n: int) -> Wave:
    blades = np.clip(np.sin(phase(rng.uniform(8, 20) * random_drift(rng, n, 1, 0.03), n)), 0, None) ** 2
    return bandpass(rng.normal(size=n), 0.2 * f, 2 * f, 1) * (0.1 + blades)


def _saw(rng: np.random.Generator, f: float, n: int) -> Wave:
    frequency = f / 4 * random_drift(rng, n, 2, 0.15)
    tone = np.tanh(3 * harmonics(rng, frequency, 0.5, highest=30))
    return tone + 0.5 * bandpass(rng.normal(size=n), f, 5 * f, 1)


def _rattle(rng: np.random.Generator, f: float, n: int) -> Wave:
    pulses = pulse_train(rng, rng.uniform(12, 25) * random_drift(rng, n, 10, 0.3), 0.6)
    return bandpass(pulses, 0.9 * f, 1.2 * f, 1) + bandpass(pulses, 2.1 * f, 2.6 * f, 1)


def _drill(rng: np.random.Generator, f: float, n: int) -> Wave:
    hammer = signal.square(phase(rng.uniform(20, 35), n), 0.4) > 0
    return (harmonics(rng, np.full(n, f / 3), 0.4, highest=30) + rng.normal(size=n)) * hammer


def _mains(rng: np.random.Generator, f: float, n: int) -> Wave:
    return harmonics(rng, np.full(n, f / 5), rng.uniform(0.8, 1.4), step=2, highest=20)


#: Sources of this module by name.
ENGINES: dict[str, Source] = {
    "motor": _motor,
    "rotor": _rotor,
    "saw": _saw,
    "rattle": _rattle,
    "drill": _drill,
    "mains": _mains,
}
