"""A labelled data set of sounds, as scikit-learn makes them of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calm.sounds.kinds import Kind, draw_kind, synthesize
from calm.sounds.parts import RATE
from calm.sounds.sources import HELD_OUT_SOURCES, SOURCES


def make_sounds(
    n_classes: int = 10,
    n_per_class: int = 20,
    *,
    seconds: float = 2.0,
    sources: Sequence[str] = HELD_OUT_SOURCES,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Make a few-shot data set of synthesized sounds.

    A class is a kind of sound, such as "fast pulsing rough low gong": a source, a register, a pattern and a timbre.
    Each clip of it has a pitch, a speed, a room, a background, a microphone and a level of its own. It is made for
    demonstration and for tests: how a method does on it says little of sounds in the world.

    Parameters
    ----------
    n_classes : int
        Kinds, all different.
    n_per_class : int
    seconds : float
        Length of each clip.
    sources : sequence of str
        Which of :data:`calm.sounds.SOURCES` kinds are drawn from; those that are kept out of training unless given.
    seed : int

    Returns
    -------
    waves : array of float32 (n_classes · n_per_class, samples)
        At 16 kHz, within −1 and 1.
    labels : array of str (n_classes · n_per_class,)

    Raises
    ------
    ValueError
        If a number is below one, clips are shorter than 0.25 s, or a source is unknown.

    Examples
    --------
    >>> waves, labels = make_sounds(n_classes=3, n_per_class=2, seconds=0.5)
    >>> waves.shape, labels.shape
    ((6, 8000), (6,))
    >>> labels[0] == labels[1], len(set(labels))
    (True, 3)
    """
    if n_classes < 1 or n_per_class < 1:
        raise ValueError(f"n_classes and n_per_class must be above zero, got {n_classes} and {n_per_class}")
    if not seconds >= 0.25:
        raise ValueError(f"seconds must be at least 0.25, or patterns cannot be heard; got {seconds}")
    if not sources:
        raise ValueError("there are no sources to draw kinds from")
    if unknown := sorted(set(sources) - set(SOURCES)):
        raise ValueError(f"unknown sources {unknown}; known are {sorted(SOURCES)}")
    rng = np.random.default_rng(seed)
    kinds: dict[str, Kind] = {}
    misses = 0
    while len(kinds) < n_classes:
        kind = draw_kind(rng, tuple(sources))
        misses = misses + 1 if str(kind) in kinds else 0
        kinds.setdefault(str(kind), kind)
        if misses > 1000:
            raise ValueError(f"there are hardly {n_classes} kinds of {', '.join(sources)}: {len(kinds)} were found")
    waves = np.empty((n_classes * n_per_class, int(RATE * seconds)), dtype=np.float32)
    for i, kind in enumerate(kind for kind in kinds.values() for _ in range(n_per_class)):
        waves[i] = synthesize(rng, kind, seconds)
    return waves, np.repeat(list(kinds), n_per_class)
