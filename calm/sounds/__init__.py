"""Synthesized sounds for demonstrations, tests and the training of ``tiny``.

Each class of sounds is a :class:`Kind`: a source (such as "gong") with a register, a temporal pattern, a speed and a
timbre. :func:`make_sounds` returns a labelled data set of such classes. The other functions synthesize single clips:

1. :func:`draw_kind` and :func:`draw_scene` draw what to synthesize.
2. :func:`synthesize_dry` synthesizes a sound without room or background.
3. :func:`apply_scene` adds reverberation, background noise, a microphone response and a recording level.
4. :func:`synthesize` does steps 2 and 3 at once.

This package needs numpy and scipy only.

>>> from calm.sounds import make_sounds
>>> waves, labels = make_sounds(n_classes=2, n_per_class=5)
"""

from calm.sounds.data_set import make_sounds
from calm.sounds.kinds import REGISTERS, SPEEDS, TIMBRES, Kind, draw_kind, synthesize, synthesize_dry
from calm.sounds.parts import RATE, Wave
from calm.sounds.patterns import PATTERNS
from calm.sounds.scene import BACKGROUNDS, ROOMS, Scene, apply_scene, draw_scene
from calm.sounds.sources import HELD_OUT_SOURCES, PERCUSSIVE_SOURCES, SOURCES, TRAINING_SOURCES

__all__ = [
    "BACKGROUNDS",
    "HELD_OUT_SOURCES",
    "PATTERNS",
    "PERCUSSIVE_SOURCES",
    "RATE",
    "REGISTERS",
    "ROOMS",
    "SOURCES",
    "SPEEDS",
    "TIMBRES",
    "TRAINING_SOURCES",
    "Kind",
    "Scene",
    "Wave",
    "apply_scene",
    "draw_kind",
    "draw_scene",
    "make_sounds",
    "synthesize",
    "synthesize_dry",
]
