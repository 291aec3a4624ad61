"""Sources that resemble voices, animals and insects."""

from __future__ import annotations

import numpy as np
from scipy import signal

from calm.sounds.parts import (
    RATE,
    Source,
    Wave,
    apply_formants,
    draw_vowel_formants,
    glottal_pulses,
    phase,
    pulse_train,
    sample_times,
)


def _vowel(rng: np.random.Generator, f: float, n: int) -> Wave:
    return apply_formants(glottal_pulses(rng, f / 2, n), draw_vowel_formants(rng))


def _babble(rng: np.random.Generator, f: float, n: int) -> Wave:
    voice, wave = glottal_pulses(rng, f / 2, n, 0.08), np.zeros(n)
    length = int(RATE * rng.uniform(0.12, 0.25))  # samples of a syllable
    for start in range(0, n, length):
        syllable = apply_formants(voice[start : start + length], draw_vowel_formants(rng))
        wave[start : start + length] = syllable * np.hanning(len(syllable))
    return wave


def _growl(rng: np.random.Generator, f: float, n: int) -> Wave:
    rough = 1 + 0.8 * np.sin(phase(rng.uniform(18, 35), n))
    return apply_formants(glottal_pulses(rng, f / 4, n, 0.15) * rough, draw_vowel_formants(rng))


def _cry(rng: np.random.Generator, f: float, n: int) -> Wave:
    arch = np.sin(phase(rng.uniform(0.7, 1.3), n) / 2 + rng.uniform(0, 3)) ** 2
    frequency = f * (0.8 + 0.4 * arch)
    return apply_formants(pulse_train(rng, frequency, 0.1), [2 * f, 4 * f, 3500]) * (0.05 + arch)


def _bark(rng: np.random.Generator, f: float, n: int) -> Wave:
    time = sample_times(n) % rng.uniform(0.4, 0.8)
    frequency = f / 2 * (1 + 0.6 * np.exp(-(((time - 0.06) / 0.05) ** 2)))
    envelope = np.exp(-(((time - 0.08) / 0.06) ** 2))
    return (apply_formants(pulse_train(rng, frequency, 0.3), [700, 1300, 2600]) + 0.01 * rng.normal(size=n)) * envelope


def _moan(rng: np.random.Generator, f: float, n: int) -> Wave:
    frequency = f / 3 * 2 ** (0.4 * np.sin(phase(rng.uniform(0.3, 0.8), n)))
    return apply_formants(pulse_train(rng, frequency, 0.05), [350, 700, 2200])


def _cricket(rng: np.random.Generator, f: float, n: int) -> Wave:
    wings = np.clip(np.sin(phase(rng.uniform(25, 50), n)), 0, None)
    bursts = signal.square(phase(rng.uniform(1.5, 4), n), rng.uniform(0.4, 0.7)) > 0
    return np.sin(phase(min(3 * f, 7000), n)) * wings * bursts


def _trill(rng: np.random.Generator, f: float, n: int) -> Wave:
    sweep = (sample_times(n) * rng.uniform(10, 20)) % 1
    return np.sin(phase(np.minimum(2 * f * (1 + 0.5 * sweep), 7500), n)) * np.sin(np.pi * sweep)


#: Sources of this module by name.
VOICES: dict[str, Source] = {
    "vowel": _vowel,
    "babble": _babble,
    "growl": _growl,
    "cry": _cry,
    "bark": _bark,
    "moan": _moan,
    "cricket": _cricket,
    "trill": _trill,
}
