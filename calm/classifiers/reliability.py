"""Base class of classifiers that score every head on every support clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.inputs import support_blocks
from calm.classifiers.prototype import PrototypeClassifier
from calm.classifiers.schema import LearnedArray
from calm.classifiers.support_set import SupportSet
from calm.fit import ClassStatistics, LeaveOneOutSimilarity, Metric, clip_reliability, cosine_similarity, leave_one_out
from calm.fit.arrays import Array, to_numpy
from calm.fit.checks import check_choice, check_flag, check_positive
from calm.fit.reliability import SCHEMES, Scheme

_Similarity = Callable[[Array, NDArray[np.int64], NDArray[np.floating] | None], Array]


class ReliabilityClassifier(PrototypeClassifier):
    """Base class of classifiers that estimate the reliability of each head on the support set.

    Attributes
    ----------
    class_reliability_ : array of float64 of shape (n_heads, n_classes)
        Mean score of each head over the clips of each class. It is 0 for a class without a scored clip.
    judged_count_ : array of shape (n_classes,)
        Number of clips of each class on which heads are scored, or the sum of their weights. It is 0 for a class with
        a single clip if clips are left out (``cross_fit=True``).

    See Also
    --------
    calm.fit.clip_reliability : Score heads on labelled clips.
    """

    reliability: Scheme
    temperature: float
    cross_fit: bool

    class_reliability_: Annotated[NDArray[np.float64], LearnedArray("KC")]
    judged_count_: Annotated[NDArray[np.float64], LearnedArray("C", "counts")]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("reliability", self.reliability, SCHEMES)
        check_positive("temperature", self.temperature)
        check_flag("cross_fit", self.cross_fit)

    def _init_head_results(self, support: SupportSet) -> None:
        self.class_reliability_ = np.zeros((support.heads.shape[1], support.n_classes))
        self.judged_count_ = np.zeros(support.n_classes)

    def _reindex_classes(self, new_index: NDArray[np.int64]) -> None:
        super()._reindex_classes(new_index)
        reliability, counts = self.class_reliability_, self.judged_count_
        self.class_reliability_ = np.zeros((len(reliability), len(self.classes_)))
        self.judged_count_ = np.zeros(len(self.classes_))
        self.class_reliability_[:, new_index], self.judged_count_[new_index] = reliability, counts

    def _build_metric(self, stats: ClassStatistics, like: Array) -> Metric | None:
        """Return the metric in which vectors are compared; None compares them without whitening."""
        return None

    def _update_statistics(self, support: SupportSet) -> None:
        counts = self.class_count_ + support.counts
        super()._update_statistics(support)
        weights = np.ones(len(support.y)) if support.weights is None else support.weights
        is_scored = self._find_scored_clips(support.y, counts, support.weights)
        self.judged_count_ = self.judged_count_ + np.bincount(support.y, weights * is_scored, support.n_classes)

    def _find_scored_clips(
        self, y: NDArray[np.int64], counts: NDArray[np.floating], weights: NDArray[np.floating] | None
    ) -> NDArray[np.bool_]:
        """Return a mask of the clips on which heads are scored: all, or those that are not alone in their class."""
        return ~leave_one_out(y, counts, weights).alone if self.cross_fit else np.ones(len(y), dtype=bool)

    def _learn_heads(
        self, heads: slice, X: Array, stats: ClassStatistics, support: SupportSet, previous_counts: NDArray[np.floating]
    ) -> None:
        """Update the mean score of each head for each class by the scores on the new clips."""
        compute_similarity = self._make_similarity(X, stats)

        def compute_scores(clips: slice) -> Array:
            y, weights = support.y[clips], None if support.weights is None else support.weights[clips]
            return clip_reliability(compute_similarity(X[clips], y, weights), y, self.reliability, self.temperature)

        weights = np.ones(len(support.y)) if support.weights is None else support.weights
        weights = weights * self._find_scored_clips(support.y, stats.counts, support.weights)
        total = sum_by_class(support, X, compute_scores, weights)
        rows, counts = self.used_heads_[heads], self.judged_count_ + np.bincount(support.y, weights, support.n_classes)
        previous_total = self.class_reliability_[rows] * self.judged_count_
        self.class_reliability_[rows] = (previous_total + total) / np.where(counts > 0, counts, 1.0)

    def _make_similarity(self, X: Array, stats: ClassStatistics) -> _Similarity:
        """Return a function from a block of support clips to their similarity to prototypes, ``(n, heads, C)``."""
        metric = self._build_metric(stats, X)
        if self.cross_fit:
            return LeaveOneOutSimilarity.from_prototypes(X, stats.means, stats.counts, metric)
        return lambda block, y, weights: cosine_similarity(block, stats.means, metric)


def sum_by_class(
    support: SupportSet, X: Array, score: Callable[[slice], Array], weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Sum scores of heads over the clips of each class, ``(heads, C)``.

    Parameters
    ----------
    support : SupportSet
        Clips that are scored.
    X : array of shape (n_clips, n_heads, head_dim)
        Their vectors of some heads; it sets the number of clips that are scored together.
    score : callable
        Function from a slice of clips to the score of each head, of shape (n_clips, n_heads).
    weights : array of shape (n_clips,)
        Weight of each clip in the sum.
    """
    total = np.zeros((support.n_classes, X.shape[1]))
    for clips in support_blocks(X, support.n_classes):
        np.add.at(total, support.y[clips], to_numpy(score(clips)) * weights[clips, None])
    return total.T
