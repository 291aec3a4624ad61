"""Make labelled data sets of synthesized sounds, as ``sklearn.datasets`` does with numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calm.sounds.kinds import Kind, draw_kind, synthesize
from calm.sounds.parts import RATE
from calm.sounds.sources import HELD_OUT_SOURCES, SOURCES

_MAX_REPEATED_DRAWS = 1000  #: draws in a row that may repeat a known kind, before too few kinds are assumed


def make_sounds(
    n_classes: int = 10,
    n_per_class: int = 20,
    *,
    seconds: float = 2.0,
    sources: Sequence[str] = HELD_OUT_SOURCES,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Make a labelled data set of synthesized sounds.

    Each class is a kind of sound, such as "fast pulsing rough low gong": a source with a register, a pattern, a speed
    and a timbre. The clips of a class differ in pitch, speed, room, background, microphone and level. Use the data set
    for demonstrations and tests. Accuracy on it does not predict accuracy on recordings.

    Parameters
    ----------
    n_classes : int, default=10
        Number of classes, all different.
    n_per_class : int, default=20
        Number of clips per class.
    seconds : float, default=2.0
        Length of each clip in seconds, at least 0.25.
    sources : sequence of str, default=HELD_OUT_SOURCES
        Names of :data:`calm.sounds.SOURCES` from which classes are drawn. By default, only sources that the built-in
        model ``tiny`` was not trained on.
    seed : int, default=0
        Seed of the random generator. The same arguments always give the same clips.

    Returns
    -------
    waves : ndarray of shape (n_classes * n_per_class, n_samples), dtype float32
        Waveforms at a sampling rate of 16,000 Hz, between -1 and 1. The clips of one class follow each other.
    labels : ndarray of shape (n_classes * n_per_class,), dtype str
        Class name of each clip.

    Raises
    ------
    ValueError
        If a number is below 1, ``seconds`` is below 0.25, a source is unknown, or the sources have too few kinds.

    See Also
    --------
    calm.sounds.synthesize : Synthesize one clip of a kind.
    calm.find_clips : Turn waveforms and labels into clips for extraction.
    calm.demo.run_demo : Compare few-shot methods on such a data set.

    Examples
    --------
    >>> from calm.sounds import make_sounds
    >>> waves, labels = make_sounds(n_classes=3, n_per_class=2, seconds=0.5)
    >>> waves.shape, labels.shape
    ((6, 8000), (6,))
    >>> labels[0] == labels[1], len(set(labels))
    (True, 3)
    """
    _check_arguments(n_classes, n_per_class, seconds, sources)
    rng = np.random.default_rng(seed)
    kinds = _draw_different_kinds(rng, n_classes, tuple(sources))
    waves = np.empty((n_classes * n_per_class, int(RATE * seconds)), dtype=np.float32)
    for i, kind in enumerate(kind for kind in kinds.values() for _ in range(n_per_class)):
        waves[i] = synthesize(rng, kind, seconds)
    return waves, np.repeat(list(kinds), n_per_class)


def _check_arguments(n_classes: int, n_per_class: int, seconds: float, sources: Sequence[str]) -> None:
    """Raise ValueError for arguments that allow no data set."""
    if n_classes < 1 or n_per_class < 1:
        raise ValueError(f"n_classes and n_per_class must be at least 1, got {n_classes} and {n_per_class}")
    if not seconds >= 0.25:
        raise ValueError(f"seconds must be at least 0.25, so that patterns are audible; got {seconds}")
    if not sources:
        raise ValueError("sources is empty: pass at least one name of calm.sounds.SOURCES")
    if unknown := sorted(set(sources) - set(SOURCES)):
        raise ValueError(f"unknown sources {unknown}: choose from {sorted(SOURCES)}")


def _draw_different_kinds(rng: np.random.Generator, n_classes: int, sources: tuple[str, ...]) -> dict[str, Kind]:
    """Draw kinds until ``n_classes`` of them have different names; return them by name."""
    kinds: dict[str, Kind] = {}
    repeated_draws = 0
    while len(kinds) < n_classes:
        kind = draw_kind(rng, sources)
        repeated_draws = repeated_draws + 1 if str(kind) in kinds else 0
        kinds.setdefault(str(kind), kind)
        if repeated_draws > _MAX_REPEATED_DRAWS:
            raise ValueError(
                f"too few different kinds for n_classes={n_classes}: found {len(kinds)} of {', '.join(sources)}; "
                "lower n_classes or pass more sources"
            )
    return kinds
