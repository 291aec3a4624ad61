"""Sources of sound, each drawn anew at every call: what vibrates, hisses, clicks, turns over or speaks."""

from __future__ import annotations

from calm.sounds.engines import ENGINES
from calm.sounds.noises import NOISES
from calm.sounds.parts import Source
from calm.sounds.strokes import STROKES
from calm.sounds.tones import TONES
from calm.sounds.voices import VOICES

SOURCES: dict[str, Source] = TONES | STROKES | NOISES | ENGINES | VOICES
#: Those that are one stroke that dies away; the others last.
PERCUSSIVE_SOURCES = frozenset(STROKES)

#: Sources that are kept out of training, so that few-shot methods can be tried on them, and those that are not.
HELD_OUT_SOURCES = ("alarm", "cricket", "cry", "gong", "laser", "pluck", "rattle", "scrape")
TRAINING_SOURCES = tuple(name for name in SOURCES if name not in HELD_OUT_SOURCES)
