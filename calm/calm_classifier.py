"""CALM: class-conditional attention-head weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.base import HeadClassifier
from calm.fit import (
    class_sums,
    clip_reliability,
    cosine_similarity,
    head_weights,
    leave_one_out_similarity,
    posterior,
    shrink_reliability,
    soft_vote,
)
from calm.fit.reliability import Scheme
from calm.heads import HeadVectors


class CALMClassifier(HeadClassifier):
    """Few-shot classifier that learns how far to trust each attention head for each class (arXiv 2602.07077).

    Each head compares a clip with the classes' prototypes by cosine and believes ``softmax(cos / τ)``. How reliably it
    did so on the support set, class by class, becomes its weight in the vote.

    Parameters
    ----------
    reliability : {"margin", "raw_margin", "probability", "brier"}
        How a head's belief in a support clip is scored; see :func:`calm.fit.clip_reliability`.
    temperature : float
        τ of the heads' softmax.
    weight_temperature : float
        τ_w; large brings the weights close to uniform.
    shrinkage : float
        α, in clips: how strongly reliabilities are pulled toward the mean of all. Reliabilities measured on a few
        clips are noise for the most part: without shrinkage, they can vote worse than uniform weights do.
    top_heads : int, optional
        Keep only so many heads for each class.
    cross_fit : bool
        Score each support clip against prototypes built without it. The published code scores it against prototypes
        that contain it (False). With one clip a class nothing is left when it is taken out, so such a class gets
        uniform weights.
    n_heads : int, optional
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    head_weights_ : array of float64 (K, C)
        Sums to one over heads for each class.
    reliability_ : array of float64 (K, C)
        Before shrinkage.
    prototypes_ : array (C, K, D)
    classes_, class_count_ : arrays (C,)

    Examples
    --------
    Three heads of which only the last hears the difference:

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> clf = CALMClassifier().fit(X, y)
    >>> clf.predict(X[:1])
    array(['dog'], dtype='<U4')
    >>> clf.head_weights_.argmax(axis=0)
    array([2, 2])
    """

    def __init__(
        self,
        *,
        reliability: Scheme = "margin",
        temperature: float = 0.07,
        weight_temperature: float = 1.0,
        shrinkage: float = 5.0,
        top_heads: int | None = None,
        cross_fit: bool = True,
        n_heads: int | None = None,
    ) -> None:
        self.reliability = reliability
        self.temperature = temperature
        self.weight_temperature = weight_temperature
        self.shrinkage = shrinkage
        self.top_heads = top_heads
        self.cross_fit = cross_fit
        self.n_heads = n_heads

    def _learn(self, heads: HeadVectors, y: NDArray[np.int64]) -> None:
        if not isinstance(self.cross_fit, bool | np.bool_):
            raise ValueError(f"cross_fit must be True or False, got {self.cross_fit!r}")
        sums = np.zeros((len(self.classes_), heads.shape[1]))
        for block, labels in self._labelled_blocks(heads, y):
            if self.cross_fit:
                similarity = leave_one_out_similarity(block, labels, self.prototypes_, self.class_count_)
            else:
                similarity = cosine_similarity(block, self.prototypes_)
            scores = clip_reliability(posterior(similarity, self.temperature), labels, self.reliability)
            class_sums(scores, labels, len(self.classes_), out=sums)
        self.reliability_ = (sums / self.class_count_[:, None]).T
        if self.cross_fit:
            self._level_single_shots()
        shrunk = shrink_reliability(self.reliability_, self.class_count_, self.shrinkage)
        self.head_weights_ = head_weights(shrunk, self.reliability, self.weight_temperature, self.top_heads)

    def _level_single_shots(self) -> None:
        """Give every head the same reliability for a class of one clip, of which nothing can be known."""
        single = self.class_count_ < 2
        known = self.reliability_[:, ~single]
        self.reliability_[:, single] = known.mean() if known.size else 0.0

    def _score(self, block: NDArray[np.floating]) -> NDArray[np.float64]:
        return soft_vote(posterior(cosine_similarity(block, self.prototypes_), self.temperature), self.head_weights_)
