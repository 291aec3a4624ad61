"""Support clips held out in folds, to choose by and to tell how well a classifier will do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.base import SupportSet
from calm.fit import deal_folds, unit_vectors
from calm.fit.arrays import Array, double, namespace, to_numpy

FOLDS = 5
#: Most clips that are dealt into folds.
MOST_CLIPS = 1600
#: Folds are made until so many clips are held out: enough to choose two numbers by.
ENOUGH_HELD_OUT = 500


def held_out(support: SupportSet) -> tuple[SupportSet, list[tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    """Deal support clips into folds, each class over all of them.

    Equal clips stay together, and neither the order of clips nor that of heads matters: clips are told apart by what
    all of their unit head vectors add up to.

    Parameters
    ----------
    support : SupportSet

    Returns
    -------
    some : SupportSet
        The clips that were dealt: all, or :data:`MOST_CLIPS` of many, the same share of every class.
    folds : list of (train, test) arrays of int
        Clips among them. Every class that is tested is in the training part too. Five, or fewer that hold out enough;
        none if no class has two clips.
    """
    key = _content(support)
    shares = -(-len(key) // MOST_CLIPS)
    chosen = np.sort(np.lexsort((key, support.y))[::shares])
    some, key = (support, key) if shares == 1 else (support.of_clips(chosen), key[chosen])
    fold = deal_folds(key, some.y, FOLDS)
    sizes = np.bincount(fold[fold >= 0], minlength=FOLDS)
    needed = np.cumsum(sizes) - sizes < ENOUGH_HELD_OUT
    return some, [
        (np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in np.flatnonzero(needed & (sizes > 0)).tolist()
    ]


def _content(support: SupportSet) -> NDArray[np.float64]:
    parts: list[NDArray[np.float64]] = []

    def add(part: slice, X: Array) -> None:
        parts.append(to_numpy(namespace(X).sum(double(unit_vectors(X)), axis=(1, 2))))

    support.each_slab(add)
    return np.round(np.sum(parts, axis=0), 6)  # copies that were stored alike stay alike
