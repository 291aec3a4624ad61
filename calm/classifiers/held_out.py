"""Support clips held out in folds, to choose by and to tell how well a classifier will do."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from calm.classifiers.support_set import SupportSet
from calm.fit import assign_folds, unit_vectors
from calm.fit.arrays import Array, namespace, to_float64, to_numpy
from calm.fit.confidence import log_loss, temperature_costs
from calm.fit.ridge import PRIOR_SPREAD, PRIOR_STRENGTH, STRENGTHS
from calm.fit.vote import zeros

FOLDS = 5
#: Most clips that are dealt into folds.
MAX_CLIPS = 1600
#: Folds are made until so many clips are held out: enough to choose two numbers by.
ENOUGH_HELD_OUT = 500

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def held_out_folds(support: SupportSet) -> tuple[SupportSet, list[Fold]]:
    """Deal support clips into folds, each class over all of them.

    Equal clips stay together; where there are groups, those do instead. Neither the order of clips nor that of heads
    matters: clips are told apart by what all of their unit head vectors add up to.

    Parameters
    ----------
    support : SupportSet

    Returns
    -------
    some : SupportSet
        The clips that were dealt: all, or :data:`MAX_CLIPS` of many, the same share of every class.
    folds : list of (train, test) arrays of int
        Clips among them. Every class that is tested is in the training part too. Five, or fewer that hold out enough;
        none if no class has two clips.

    Warns
    -----
    UserWarning
        If there are too few groups to hold any out: clips are held out one by one then.
    """
    key = _compute_clip_keys(support)
    shares = -(-len(key) // MAX_CLIPS)
    chosen = np.sort(np.lexsort((key, support.y))[::shares])
    some, key = (support, key) if shares == 1 else (support.select_clips(chosen), key[chosen])
    fold = assign_folds(key, some.y, FOLDS)
    by_clip = [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in np.unique(fold[fold >= 0]).tolist()]
    folds = choose_folds(some.groups, some.y, FOLDS, by_clip)
    before = np.cumsum([0, *(len(test) for _, test in folds)])[:-1]
    return some, [split for split, held in zip(folds, before, strict=True) if held < ENOUGH_HELD_OUT]


def choose_folds(
    groups: NDArray[np.int64] | None, y: NDArray[np.int64], n_folds: int, by_clip: list[Fold]
) -> list[Fold]:
    """Hold out whole groups where there are some, and clip by clip, with a warning, where those are too few."""
    if groups is None:
        return by_clip
    folds = group_folds(groups, y, n_folds)
    if not folds and by_clip:
        warnings.warn(_TOO_FEW_GROUPS_WARNING, UserWarning, stacklevel=2)
        return by_clip
    return folds


_TOO_FEW_GROUPS_WARNING = (
    "the support set has too few groups to hold any out: clips are held out one by one instead, and held-out accuracy, "
    "probabilities and rejection may be too optimistic for new groups"
)


def group_folds(groups: NDArray[np.int64], y: NDArray[np.int64], n_folds: int) -> list[Fold]:
    """Hold out whole groups of clips, fold by fold, each class over as many folds as can be.

    Returns
    -------
    list of (train, test) arrays of int
        No group is on both sides. Clips are tested only where their class, and another, is trained on.

    Examples
    --------
    >>> for train, test in group_folds(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 1, 2]), 3):
    ...     print(train, test)
    [2 3 4 5] [0 1]
    [0 1 4 5] [2 3]
    [0 1 2 3] [4]
    """
    n_folds = min(n_folds, len(np.unique(groups)), int(np.bincount(y).max()))
    if n_folds < 2:
        return []
    folds = []
    with warnings.catch_warnings():  # of classes with fewer clips than folds: they are tested in fewer
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for train, test in StratifiedGroupKFold(n_folds).split(y, y, groups):
            known = np.unique(y[train])
            tested = test[np.isin(y[test], known)]
            if len(known) > 1 and len(tested):
                folds.append((train, tested))
    return folds


def _compute_clip_keys(support: SupportSet) -> NDArray[np.float64]:
    like, clips = support.heads.like, support.heads.shape[0]

    def add(total: Array, X: Array) -> None:
        total += namespace(X).sum(to_float64(unit_vectors(X)), axis=(1, 2))

    total = support.sum_over_blocks(lambda: to_float64(zeros(like, (clips,))), add)
    return np.round(to_numpy(total), 6)  # copies that were stored alike stay alike


@dataclass(frozen=True)
class HeldOutScores:
    """How clips that were held out scored, by candidates for the strength of the ridge, or by a single one."""

    scores: NDArray[np.float64]  #: (candidates, n, C)
    y: NDArray[np.int64]
    weights: NDArray[np.float64]

    def choose(self, middle: float) -> tuple[int, float]:
        """Choose a candidate and a temperature by log loss and prior, the temperature's being around ``middle``."""
        costs = [temperature_costs(scores, self.y, self.weights, middle) for scores in self.scores]
        total = np.array([cost for _, cost in costs])
        if len(self.scores) > 1:
            total += 0.5 * (np.log(STRENGTHS / PRIOR_STRENGTH) / PRIOR_SPREAD)[:, None] ** 2
        at, warmth = np.unravel_index(total.argmin(), total.shape)
        return int(at), float(costs[0][0][warmth])

    def log_loss(self, at: int, temperature: float) -> float:
        """Return the mean log loss of one candidate."""
        return log_loss(self.scores[at] / temperature, self.y, self.weights)

    def accuracy(self, at: int) -> float:
        """Return the share of clips that one candidate labels rightly."""
        return float(np.average(self.scores[at].argmax(axis=1) == self.y, weights=self.weights))

    def best_scores(self, candidate: int) -> NDArray[np.float64]:
        """Return the scores of the labels that one candidate gives, sorted."""
        return np.sort(self.scores[candidate].max(axis=1))
