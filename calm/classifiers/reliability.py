"""Classifiers that score every head on every support clip."""

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
    """A classifier that trusts heads by how well they tell its support clips apart.

    Attributes
    ----------
    class_reliability_ : array of float64 (K, C)
        Mean score of each head over the clips of each class; 0 where no clip could be judged.
    judged_count_ : array (C,)
        Clips that heads were judged by. Where each is left out of what it is compared with, those are none of a class
        of one clip.
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

    def _reindex_classes(self, before: NDArray[np.int64]) -> None:
        super()._reindex_classes(before)
        reliability, counts = self.class_reliability_, self.judged_count_
        self.class_reliability_ = np.zeros((len(reliability), len(self.classes_)))
        self.judged_count_ = np.zeros(len(self.classes_))
        self.class_reliability_[:, before], self.judged_count_[before] = reliability, counts

    def _build_metric(self, stats: ClassStatistics, like: Array) -> Metric | None:
        """Return the metric in which heads compare; a method that has none keeps vectors as they are."""
        return None

    def _update_statistics(self, support: SupportSet) -> None:
        counts = self.class_count_ + support.counts
        super()._update_statistics(support)
        weights = np.ones(len(support.y)) if support.weights is None else support.weights
        judged = self._find_scored_clips(support.y, counts, support.weights)
        self.judged_count_ = self.judged_count_ + np.bincount(support.y, weights * judged, support.n_classes)

    def _find_scored_clips(
        self, y: NDArray[np.int64], counts: NDArray[np.floating], weights: NDArray[np.floating] | None
    ) -> NDArray[np.bool_]:
        """Tell which clips heads can be judged by."""
        return ~leave_one_out(y, counts, weights).alone if self.cross_fit else np.ones(len(y), dtype=bool)

    def _learn_heads(
        self, part: slice, X: Array, stats: ClassStatistics, support: SupportSet, before: NDArray[np.floating]
    ) -> None:
        compare = self._make_similarity(X, stats)
        total, number = np.zeros((support.n_classes, X.shape[1])), self.judged_count_.copy()
        for clips in support_blocks(X, support.n_classes):
            y, weights = support.y[clips], None if support.weights is None else support.weights[clips]
            scores = to_numpy(clip_reliability(compare(X[clips], y, weights), y, self.reliability, self.temperature))
            share = self._find_scored_clips(y, stats.counts, weights) * (1.0 if weights is None else weights)
            np.add.at(total, y, scores * share[:, None])
            np.add.at(number, y, share)
        rows = self.used_heads_[part]
        earlier = self.class_reliability_[rows] * self.judged_count_
        self.class_reliability_[rows] = (earlier + total.T) / np.where(number > 0, number, 1.0)

    def _make_similarity(self, X: Array, stats: ClassStatistics) -> _Similarity:
        """Prepare the comparison of support clips, block by block, with prototypes; left out of them or not."""
        metric = self._build_metric(stats, X)
        if self.cross_fit:
            return LeaveOneOutSimilarity.of(X, stats.means, stats.counts, metric)
        return lambda block, y, weights: cosine_similarity(block, stats.means, metric)
