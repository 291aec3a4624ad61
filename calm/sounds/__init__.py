"""Sounds made by rule: for demonstration, for tests, and to train ``tiny`` on.

Numpy and scipy are all it needs.

>>> from calm.sounds import make_sounds
>>> waves, labels = make_sounds(n_classes=2, n_per_class=5)
"""

from calm.sounds.data_set import make_sounds
from calm.sounds.kinds import REGISTERS, SPEEDS, TIMBRES, Kind, draw_kind, sound, synthesize
from calm.sounds.parts import RATE, Wave
from calm.sounds.patterns import PATTERNS
from calm.sounds.scene import BACKGROUNDS, ROOMS, Scene, draw_scene, hear
from calm.sounds.sources import HEARD, SOURCES, STRUCK, UNHEARD

__all__ = [
    "BACKGROUNDS",
    "HEARD",
    "PATTERNS",
    "RATE",
    "REGISTERS",
    "ROOMS",
    "SOURCES",
    "SPEEDS",
    "STRUCK",
    "TIMBRES",
    "UNHEARD",
    "Kind",
    "Scene",
    "Wave",
    "draw_kind",
    "draw_scene",
    "hear",
    "make_sounds",
    "sound",
    "synthesize",
]
