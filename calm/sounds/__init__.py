"""Sounds made by rule: for demonstration, for tests, and to train ``tiny`` on.

Numpy and scipy are all it needs.

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
