"""All sources of sound by name; each call of a source synthesizes a different sound."""

from __future__ import annotations

from calm.sounds.engines import ENGINES
from calm.sounds.noises import NOISES
from calm.sounds.parts import Source
from calm.sounds.strokes import STROKES
from calm.sounds.tones import TONES
from calm.sounds.voices import VOICES

#: All sources by name.
SOURCES: dict[str, Source] = TONES | STROKES | NOISES | ENGINES | VOICES
#: Sources that are one decaying stroke, such as a bell. All other sources are sustained.
PERCUSSIVE_SOURCES = frozenset(STROKES)

#: Sources that ``tiny`` was not trained on; few-shot methods are tested on them.
HELD_OUT_SOURCES = ("alarm", "cricket", "cry", "gong", "laser", "pluck", "rattle", "scrape")
#: Sources that ``tiny`` was trained on.
TRAINING_SOURCES = tuple(name for name in SOURCES if name not in HELD_OUT_SOURCES)
