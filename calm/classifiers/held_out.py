"""Cross-validation on the support set: folds, hyperparameter choice, and held-out accuracy."""

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

#: Number of cross-validation folds.
FOLDS = 5
#: Maximum number of clips that are assigned to folds; a larger support set is subsampled.
MAX_CLIPS = 1600
#: Folds are used until this many clips have been held out, which is enough to choose two hyperparameters.
ENOUGH_HELD_OUT = 500

#: Indices of training clips and of held-out clips.
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def held_out_folds(support: SupportSet) -> tuple[SupportSet, list[Fold]]:
    """Split support clips into cross-validation folds.

    Each class is spread over all folds. Clips with equal head vectors stay in one fold. If there are groups, whole
    groups are held out instead. The folds depend neither on the order of clips nor on that of heads, because clips
    are identified by the sum of all their unit head vectors.

    Parameters
    ----------
    support : SupportSet
        Clips to split.

    Returns
    -------
    sampled : SupportSet
        The clips that are split: all of them, or a stratified sample of at most :data:`MAX_CLIPS`.
    folds : list of (train, test) arrays of int
        Indices into ``sampled``. Every class in ``test`` is also in ``train``. There are five folds, or fewer if these
        hold out :data:`ENOUGH_HELD_OUT` clips, or none if no class has two clips.

    Warns
    -----
    UserWarning
        If there are too few groups to hold any out. Clips are then held out individually.
    """
    keys = _compute_clip_keys(support)
    step = -(-len(keys) // MAX_CLIPS)
    indices = np.sort(np.lexsort((keys, support.y))[::step])
    sampled, keys = (support, keys) if step == 1 else (support.select_clips(indices), keys[indices])
    return sampled, _limit_folds(choose_folds(sampled.groups, sampled.y, FOLDS, _split_clips(keys, sampled.y, FOLDS)))


def clip_folds(support: SupportSet, n_folds: int) -> list[Fold]:
    """Split clips into folds as :func:`held_out_folds` does, but without regard to groups."""
    return _limit_folds(_split_clips(_compute_clip_keys(support), support.y, n_folds))


def count_equal_clip_folds(support: SupportSet, folds: list[Fold]) -> int | None:
    """Return how many folds of clips would train on as many clips as these folds of whole groups.

    Parameters
    ----------
    support : SupportSet
        Clips that the folds split.
    folds : list of (train, test) arrays of int
        Folds of :func:`held_out_folds`, at least one.

    Returns
    -------
    int or None
        Number of folds, from 2 to ``FOLDS - 1``. None if clips are held out individually, or if there are enough
        groups for folds as large as those of clips.
    """
    train, test = folds[0]
    if support.groups is None or np.isin(support.groups[test], support.groups[train]).any():
        return None
    left_out = 1 - np.mean([len(train) for train, _ in folds]) / len(support.y)
    n_folds = max(2, round(1 / max(float(left_out), 1 / FOLDS)))
    return n_folds if n_folds < FOLDS else None


def _split_clips(keys: NDArray[np.float64], y: NDArray[np.int64], n_folds: int) -> list[Fold]:
    """Split clips into folds by their keys."""
    fold = assign_folds(keys, y, n_folds)
    return [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in np.unique(fold[fold >= 0]).tolist()]


def _limit_folds(folds: list[Fold]) -> list[Fold]:
    """Return the first folds, until enough clips are held out."""
    held_out_before = np.cumsum([0, *(len(test) for _, test in folds)])[:-1]
    return [split for split, n in zip(folds, held_out_before, strict=True) if n < ENOUGH_HELD_OUT]


def choose_folds(
    groups: NDArray[np.int64] | None, y: NDArray[np.int64], n_folds: int, by_clip: list[Fold]
) -> list[Fold]:
    """Return folds of whole groups; without groups, or with a warning if they are too few, return ``by_clip``."""
    if groups is None:
        return by_clip
    folds = group_folds(groups, y, n_folds)
    if not folds and by_clip:
        warnings.warn(_TOO_FEW_GROUPS_WARNING, UserWarning, stacklevel=2)
        return by_clip
    return folds


_TOO_FEW_GROUPS_WARNING = (
    "the support set has too few groups to hold any out, so clips are held out individually: held-out accuracy, "
    "probabilities and rejection may be too optimistic for new groups"
)


def group_folds(groups: NDArray[np.int64], y: NDArray[np.int64], n_folds: int) -> list[Fold]:
    """Split clips into folds of whole groups, with each class in as many folds as possible.

    Parameters
    ----------
    groups : array of int of shape (n_clips,)
        Group number of each clip.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    n_folds : int
        Maximum number of folds.

    Returns
    -------
    list of (train, test) arrays of int
        Indices of training and held-out clips, which share no group. A clip is held out only if its class and at least
        one other class have training clips.

    Examples
    --------
    >>> import numpy as np
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
    with warnings.catch_warnings():  # a class may have fewer clips than there are folds
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for train, test in StratifiedGroupKFold(n_folds).split(y, y, groups):
            train_classes = np.unique(y[train])
            tested = test[np.isin(y[test], train_classes)]
            if len(train_classes) > 1 and len(tested):
                folds.append((train, tested))
    return folds


def _compute_clip_keys(support: SupportSet) -> NDArray[np.float64]:
    """Return a number for each clip, the sum of its unit head vectors; equal clips have equal numbers."""
    like, n_clips = support.heads.like, support.heads.shape[0]

    def add_block(total: Array, X: Array) -> None:
        total += namespace(X).sum(to_float64(unit_vectors(X)), axis=(1, 2))

    total = support.sum_over_blocks(lambda: to_float64(zeros(like, (n_clips,))), add_block)
    return np.round(to_numpy(total), 6)  # so that copies of a clip have equal keys despite rounding errors


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of held-out clips for each candidate ridge strength, or for a single candidate."""

    scores: NDArray[np.float64]  #: (candidates, n, C)
    y: NDArray[np.int64]  #: (n,) class numbers
    weights: NDArray[np.float64]  #: (n,) sample weights

    def choose(self, prior_temperature: float) -> tuple[int, float]:
        """Choose the candidate and the temperature with the smallest log loss plus log prior cost."""
        costs = [temperature_costs(scores, self.y, self.weights, prior_temperature) for scores in self.scores]
        total = np.array([cost for _, cost in costs])
        if len(self.scores) > 1:
            total += 0.5 * (np.log(STRENGTHS / PRIOR_STRENGTH) / PRIOR_SPREAD)[:, None] ** 2
        candidate, index = np.unravel_index(total.argmin(), total.shape)
        return int(candidate), float(costs[0][0][index])

    def log_loss(self, candidate: int, temperature: float) -> float:
        """Return the mean log loss of a candidate."""
        return log_loss(self.scores[candidate] / temperature, self.y, self.weights)

    def accuracy(self, candidate: int) -> float:
        """Return the accuracy of a candidate."""
        return float(np.average(self.scores[candidate].argmax(axis=1) == self.y, weights=self.weights))

    def best_scores(self, candidate: int) -> NDArray[np.float64]:
        """Return the largest score of each clip for a candidate, sorted."""
        return np.sort(self.scores[candidate].max(axis=1))
