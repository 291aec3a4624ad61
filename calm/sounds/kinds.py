"""Kinds of sound: a source, in a register, in a pattern, with a timbre; each clip of a kind is another of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Wave, bandpass, phase
from calm.sounds.patterns import PATTERNS, play
from calm.sounds.scene import Scene, apply_scene, draw_scene
from calm.sounds.sources import SOURCES

#: Pitches in Hz: the middle of each register, an octave and a little apart.
REGISTERS = {"deep": 130.0, "low": 280.0, "middle": 600.0, "high": 1280.0, "shrill": 2750.0}
TIMBRES = ("clean", "rough", "muffled", "thin", "wobbly")
#: Events a second.
SPEEDS = {"slow": 1.6, "brisk": 3.2, "fast": 6.4}


@dataclass(frozen=True)
class Kind:
    """What clips of one class have in common."""

    source: str  #: one of :data:`calm.sounds.SOURCES`
    register: str  #: one of :data:`REGISTERS`
    pattern: str  #: one of :data:`calm.sounds.PATTERNS`
    speed: str  #: one of :data:`SPEEDS`
    timbre: str  #: one of :data:`TIMBRES`

    def __str__(self) -> str:
        speed = "" if self.pattern in ("steady", "swelling", "fading", "once") else f"{self.speed} "
        timbre = "" if self.timbre == "clean" else f"{self.timbre} "
        return f"{speed}{self.pattern} {timbre}{self.register} {self.source}"


def draw_kind(rng: np.random.Generator, sources: tuple[str, ...] = tuple(SOURCES)) -> Kind:
    """Draw a kind from some of the sources."""
    return Kind(
        str(rng.choice(sources)),
        str(rng.choice(list(REGISTERS))),
        str(rng.choice(PATTERNS, p=_SHARES)),
        str(rng.choice(list(SPEEDS))),
        str(rng.choice(TIMBRES, p=(0.5, 0.125, 0.125, 0.125, 0.125))),
    )


_SHARES = (0.28, *(0.08,) * 9)


def synthesize(rng: np.random.Generator, kind: Kind, seconds: float = 2.0, scene: Scene | None = None) -> Wave:
    """Make one clip of a kind, ``(seconds · 16,000,)``, in a scene drawn at random unless given."""
    scene = draw_scene(rng) if scene is None else scene
    return apply_scene(rng, synthesize_dry(rng, kind, int(RATE * seconds)), scene)


def synthesize_dry(rng: np.random.Generator, kind: Kind, n: int) -> Wave:
    """Make a sound of a kind, as it is before it is heard anywhere."""
    pitch = REGISTERS[kind.register] * 2 ** rng.uniform(-0.3, 0.3)
    rate = SPEEDS[kind.speed] * 2 ** rng.uniform(-0.25, 0.25)
    return _colour(rng, kind.timbre, play(rng, kind.source, kind.pattern, pitch, rate, n), pitch)


def _colour(rng: np.random.Generator, timbre: str, wave: Wave, pitch: float) -> Wave:
    wave = wave / (np.abs(wave).max() + 1e-9)
    if timbre == "rough":
        return np.tanh(rng.uniform(4, 10) * wave) * (1 + 0.7 * np.sin(phase(rng.uniform(40, 90), len(wave))))
    if timbre == "muffled":
        return signal.sosfilt(signal.butter(2, min(1.5 * pitch, 2000), fs=RATE, output="sos"), wave)
    if timbre == "thin":
        return bandpass(wave, min(2 * pitch, 4000), 7500)
    if timbre == "wobbly":
        depth, rate = rng.uniform(30, 80), rng.uniform(3, 6)
        at = np.arange(len(wave)) + depth * np.sin(phase(rate, len(wave)))
        return np.interp(at, np.arange(len(wave)), wave)
    return wave
