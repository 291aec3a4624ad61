"""Kinds of sound, which are the classes of synthesized data sets, and their synthesis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Wave, bandpass, phase
from calm.sounds.patterns import PATTERNS, PATTERNS_WITHOUT_SPEED, play_pattern
from calm.sounds.scene import Scene, apply_scene, draw_scene
from calm.sounds.sources import SOURCES

#: Centre of each register, in Hz.
REGISTERS = {"deep": 130.0, "low": 280.0, "middle": 600.0, "high": 1280.0, "shrill": 2750.0}
TIMBRES = ("clean", "rough", "muffled", "thin", "wobbly")
#: Events per second.
SPEEDS = {"slow": 1.6, "brisk": 3.2, "fast": 6.4}

_PATTERN_PROBABILITIES = (0.28, *(0.08,) * 9)
_TIMBRE_PROBABILITIES = (0.5, 0.125, 0.125, 0.125, 0.125)


@dataclass(frozen=True)
class Kind:
    """Kind of sound: the properties that all clips of one class share.

    ``str(kind)`` is the label of its clips. It leaves out the timbre "clean", and the speed of patterns without one.

    Parameters
    ----------
    source : str
        One of :data:`calm.sounds.SOURCES`.
    register : str
        One of :data:`calm.sounds.REGISTERS`.
    pattern : str
        One of :data:`calm.sounds.PATTERNS`.
    speed : str
        One of :data:`calm.sounds.SPEEDS`.
    timbre : str
        One of :data:`calm.sounds.TIMBRES`.

    See Also
    --------
    calm.sounds.draw_kind : Draw a random kind.
    calm.sounds.synthesize : Synthesize a clip of a kind.

    Examples
    --------
    >>> from calm.sounds import Kind
    >>> str(Kind("gong", "low", "pulsing", "fast", "rough"))
    'fast pulsing rough low gong'
    >>> str(Kind("hiss", "high", "steady", "fast", "clean"))
    'steady high hiss'
    """

    source: str
    register: str
    pattern: str
    speed: str
    timbre: str

    def __str__(self) -> str:
        speed = "" if self.pattern in PATTERNS_WITHOUT_SPEED else f"{self.speed} "
        timbre = "" if self.timbre == "clean" else f"{self.timbre} "
        return f"{speed}{self.pattern} {timbre}{self.register} {self.source}"


def draw_kind(rng: np.random.Generator, sources: tuple[str, ...] = tuple(SOURCES)) -> Kind:
    """Draw a random kind of sound.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    sources : tuple of str, default=all
        Names of :data:`calm.sounds.SOURCES` to draw from.

    Returns
    -------
    Kind
        The pattern "steady" and the timbre "clean" are the most frequent.

    See Also
    --------
    calm.sounds.synthesize : Synthesize a clip of a kind.
    calm.sounds.draw_scene : Draw a random scene.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.sounds import draw_kind
    >>> draw_kind(np.random.default_rng(0), ("bell", "gong")).source in ("bell", "gong")
    True
    """
    return Kind(
        str(rng.choice(sources)),
        str(rng.choice(list(REGISTERS))),
        str(rng.choice(PATTERNS, p=_PATTERN_PROBABILITIES)),
        str(rng.choice(list(SPEEDS))),
        str(rng.choice(TIMBRES, p=_TIMBRE_PROBABILITIES)),
    )


def synthesize(rng: np.random.Generator, kind: Kind, seconds: float = 2.0, scene: Scene | None = None) -> Wave:
    """Synthesize one clip of a kind, in a scene.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness: the clips of one kind differ in pitch, speed, microphone and level.
    kind : Kind
        What to synthesize.
    seconds : float, default=2.0
        Length of the clip in seconds.
    scene : Scene, default=None
        Room and background. By default, a random scene.

    Returns
    -------
    ndarray of shape (n_samples,)
        Waveform at 16,000 Hz, between -1 and 1.

    See Also
    --------
    calm.sounds.synthesize_dry : Synthesize a sound without a scene.
    calm.sounds.make_sounds : Synthesize many clips of many kinds.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.sounds import Kind, synthesize
    >>> kind = Kind("gong", "low", "once", "slow", "clean")
    >>> synthesize(np.random.default_rng(0), kind, seconds=0.5).shape
    (8000,)
    """
    scene = draw_scene(rng) if scene is None else scene
    return apply_scene(rng, synthesize_dry(rng, kind, int(RATE * seconds)), scene)


def synthesize_dry(rng: np.random.Generator, kind: Kind, n: int) -> Wave:
    """Synthesize a sound without room, background or microphone.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness: the sounds of one kind differ in pitch and speed.
    kind : Kind
        What to synthesize.
    n : int
        Number of samples at 16,000 Hz.

    Returns
    -------
    ndarray of shape (n,)
        Waveform at any level.

    See Also
    --------
    calm.sounds.apply_scene : Add a room, a background and a microphone.
    calm.sounds.synthesize : Synthesize a clip in a scene.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.sounds import Kind, synthesize_dry
    >>> kind = Kind("gong", "low", "once", "slow", "clean")
    >>> synthesize_dry(np.random.default_rng(0), kind, 8000).shape
    (8000,)
    """
    pitch = REGISTERS[kind.register] * 2 ** rng.uniform(-0.3, 0.3)
    rate = SPEEDS[kind.speed] * 2 ** rng.uniform(-0.25, 0.25)
    return _apply_timbre(rng, kind.timbre, play_pattern(rng, kind.source, kind.pattern, pitch, rate, n), pitch)


def _apply_timbre(rng: np.random.Generator, timbre: str, wave: Wave, pitch: float) -> Wave:
    """Distort, filter or modulate a waveform, after its peak is scaled to 1."""
    wave = wave / (np.abs(wave).max() + 1e-9)
    if timbre == "rough":
        return np.tanh(rng.uniform(4, 10) * wave) * (1 + 0.7 * np.sin(phase(rng.uniform(40, 90), len(wave))))
    if timbre == "muffled":
        return signal.sosfilt(signal.butter(2, min(1.5 * pitch, 2000), fs=RATE, output="sos"), wave)
    if timbre == "thin":
        return bandpass(wave, min(2 * pitch, 4000), 7500)
    if timbre == "wobbly":
        depth, rate = rng.uniform(30, 80), rng.uniform(3, 6)
        position = np.arange(len(wave)) + depth * np.sin(phase(rate, len(wave)))
        return np.interp(position, np.arange(len(wave)), wave)
    return wave
