"""Scenes: the room, background, microphone and level with which a sound is recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

from calm.sounds.parts import RATE, Wave, bandpass, random_drift, sample_times

#: Rooms, from no reverberation to long reverberation.
ROOMS = ("dry", "roomy", "echoing")
#: Backgrounds, from nearly silent to loud.
BACKGROUNDS = ("silence", "murmur", "noise")


@dataclass(frozen=True)
class Scene:
    """Recording conditions of a clip.

    Parameters
    ----------
    room : str
        One of :data:`calm.sounds.ROOMS`.
    background : str
        One of :data:`calm.sounds.BACKGROUNDS`.

    See Also
    --------
    calm.sounds.draw_scene : Draw a random scene.
    calm.sounds.apply_scene : Apply a scene to a waveform.

    Examples
    --------
    >>> from calm.sounds import Scene
    >>> Scene("echoing", "murmur")
    Scene(room='echoing', background='murmur')
    """

    room: str
    background: str


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a random scene.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    Scene
        Half of all scenes are dry, and half have a nearly silent background.

    See Also
    --------
    calm.sounds.apply_scene : Apply a scene to a waveform.
    calm.sounds.draw_kind : Draw what sounds in the scene.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.sounds import draw_scene
    >>> draw_scene(np.random.default_rng(0))
    Scene(room='roomy', background='silence')
    """
    return Scene(str(rng.choice(ROOMS, p=(0.5, 0.3, 0.2))), str(rng.choice(BACKGROUNDS, p=(0.5, 0.25, 0.25))))


def apply_scene(rng: np.random.Generator, wave: Wave, scene: Scene) -> Wave:
    """Add reverberation, background noise, a microphone response and a recording level to a waveform.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness: reverberation time, signal-to-noise ratio, microphone and level differ between calls.
    wave : ndarray of shape (n_samples,)
        Waveform at 16,000 Hz, at any level.
    scene : Scene
        Room and background.

    Returns
    -------
    ndarray of shape (n_samples,)
        Waveform at 16,000 Hz, between -1 and 1.

    See Also
    --------
    calm.sounds.synthesize_dry : Synthesize a waveform to apply a scene to.
    calm.sounds.synthesize : Synthesize a waveform in a scene.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.sounds import Scene, apply_scene
    >>> rng = np.random.default_rng(0)
    >>> click = np.zeros(16000)
    >>> click[0] = 1
    >>> apply_scene(rng, click, Scene("echoing", "silence")).shape
    (16000,)
    """
    wave = wave / (np.sqrt(np.mean(wave**2)) + 1e-9)
    if scene.room != "dry":
        wave = _reverberate(rng, wave, rng.uniform(0.15, 0.4) if scene.room == "roomy" else rng.uniform(0.8, 1.8))
    snr = {"silence": rng.uniform(40, 60), "murmur": rng.uniform(12, 25), "noise": rng.uniform(6, 18)}  # in dB
    wave = wave + _make_background(rng, len(wave), scene.background) * 10 ** (-snr[scene.background] / 20)
    if rng.random() < 0.5:  # a microphone that favours low or high frequencies
        tilt = rng.uniform(-0.6, 0.6)
        wave = signal.lfilter([1, tilt], [1.0], wave)
    return wave / (np.abs(wave).max() + 1e-9) * 10 ** rng.uniform(-1.0, -0.05)


def _reverberate(rng: np.random.Generator, wave: Wave, seconds: float) -> Wave:
    """Add reverberation: convolve with noise that decays by 60 dB in ``seconds``."""
    n = int(RATE * seconds)
    impulse_response = rng.normal(size=n) * 10 ** (-3 * sample_times(n) / seconds)
    impulse_response = impulse_response / np.sqrt((impulse_response**2).sum())
    return wave + rng.uniform(0.4, 1.0) * signal.fftconvolve(wave, impulse_response)[: len(wave)]


def _make_background(rng: np.random.Generator, n: int, background: str) -> Wave:
    """Return background noise with an RMS level of 1."""
    noise = rng.normal(size=n)
    if background == "murmur":  # resembles distant voices
        noise = bandpass(noise, 200, 1200, 1) * random_drift(rng, n, 6, 0.5)
    elif background == "noise":
        centre = np.exp(rng.uniform(np.log(100), np.log(3000)))
        noise = noise * rng.uniform(0.1, 1) + 3 * bandpass(noise, 0.5 * centre, 2 * centre, 1)
    return noise / (np.sqrt(np.mean(noise**2)) + 1e-9)
