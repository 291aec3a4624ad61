"""Scenes: the room, the background, the microphone and the level at which a sound is heard."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Wave, bandpass, random_drift, sample_times

ROOMS = ("dry", "roomy", "echoing")
BACKGROUNDS = ("silence", "murmur", "noise")


@dataclass(frozen=True)
class Scene:
    """What is around a sound."""

    room: str  #: one of :data:`ROOMS`
    background: str  #: one of :data:`BACKGROUNDS`


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene."""
    return Scene(str(rng.choice(ROOMS, p=(0.5, 0.3, 0.2))), str(rng.choice(BACKGROUNDS, p=(0.5, 0.25, 0.25))))


def apply_scene(rng: np.random.Generator, wave: Wave, scene: Scene) -> Wave:
    """Put a wave into a scene; returns it at the level of a recording, within −1 and 1."""
    wave = wave / (np.sqrt(np.mean(wave**2)) + 1e-9)
    if scene.room != "dry":
        wave = _reverberate(rng, wave, rng.uniform(0.15, 0.4) if scene.room == "roomy" else rng.uniform(0.8, 1.8))
    apart = {"silence": rng.uniform(40, 60), "murmur": rng.uniform(12, 25), "noise": rng.uniform(6, 18)}
    wave = wave + _background(rng, len(wave), scene.background) * 10 ** (-apart[scene.background] / 20)
    if rng.random() < 0.5:  # a microphone that favours one end
        tilt = rng.uniform(-0.6, 0.6)
        wave = signal.lfilter([1, tilt], [1.0], wave)
    return wave / (np.abs(wave).max() + 1e-9) * 10 ** rng.uniform(-1.0, -0.05)


def _reverberate(rng: np.random.Generator, wave: Wave, length: float) -> Wave:
    n = int(RATE * length)
    tail = rng.normal(size=n) * 10 ** (-3 * sample_times(n) / length)
    tail = tail / np.sqrt((tail**2).sum())
    return wave + rng.uniform(0.4, 1.0) * signal.fftconvolve(wave, tail)[: len(wave)]


def _background(rng: np.random.Generator, n: int, kind: str) -> Wave:
    noise = rng.normal(size=n)
    if kind == "murmur":  # far voices, more or less
        noise = bandpass(noise, 200, 1200, 1) * random_drift(rng, n, 6, 0.5)
    elif kind == "noise":
        middle = np.exp(rng.uniform(np.log(100), np.log(3000)))
        noise = noise * rng.uniform(0.1, 1) + 3 * bandpass(noise, 0.5 * middle, 2 * middle, 1)
    return noise / (np.sqrt(np.mean(noise**2)) + 1e-9)
