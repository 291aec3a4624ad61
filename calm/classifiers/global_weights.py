"""GRW: globally weighted heads, one weight a head for all classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.base import cast_like
from calm.classifiers.reliability import ReliabilityClassifier
from calm.classifiers.schema import LearnedArray
from calm.classifiers.support_set import SupportSet
from calm.fit import SoftVoter, head_weights
from calm.fit.arrays import Array
from calm.fit.checks import check_positive
from calm.fit.reliability import Scheme


class GlobalWeightClassifier(ReliabilityClassifier):
    """Few-shot classifier with one weight a head, shared by all classes (the GRW baseline of arXiv 2602.07077).

    A head's reliability is the mean over all support clips of its score on them; the weights are
    ``softmax_h(r / τ_w)``; the vote is CALM's. The defaults are those of the published code.

    :meth:`partial_fit`: prototypes are those of a fit on all clips; reliabilities are means over clips, each scored
    when it came.

    Parameters
    ----------
    reliability : {"margin", "raw_margin", "probability", "brier", "separation"}, default="margin"
        How a head is scored on a support clip; see :func:`calm.fit.clip_reliability`.
    temperature : float, default=0.07
        τ of the heads' softmax.
    weight_temperature : float, default=0.5
        τ_w.
    cross_fit : bool, default=False
        Score each support clip against prototypes built without it. A clip that is alone in its class is not scored.
    n_heads : int, default=None
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    head_weights_ : array of float64 (K, C)
        The same for every class; sums to one over heads.
    reliability_ : array of float64 (K,)
    prototypes_ : array (C, K, D)
    classes_, class_count_, used_heads_, head_names_
        See :class:`calm.classifiers.base.HeadClassifier`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> GlobalWeightClassifier(cross_fit=True).fit(X, y).reliability_.argmax()
    np.int64(2)
    """

    head_weights_: Annotated[NDArray[np.float64], LearnedArray("KC")]

    def __init__(
        self,
        *,
        reliability: Scheme = "margin",
        temperature: float = 0.07,
        weight_temperature: float = 0.5,
        cross_fit: bool = False,
        n_heads: int | None = None,
    ) -> None:
        self.reliability = reliability
        self.temperature = temperature
        self.weight_temperature = weight_temperature
        self.cross_fit = cross_fit
        self.n_heads = n_heads

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_positive("weight_temperature", self.weight_temperature)

    @property
    def reliability_(self) -> NDArray[np.float64]:
        """Mean score of each head over all clips, ``(K,)``."""
        return self.class_reliability_ @ self.judged_count_ / max(self.judged_count_.sum(), 1e-12)

    def _combine_heads(self, support: SupportSet, before: NDArray[np.floating], earlier: Array | None) -> None:
        # One weight for all classes is a softmax whatever the score, as published.
        shared = head_weights(self.reliability_[:, None], "probability", self.weight_temperature)
        self.head_weights_ = np.repeat(shared, support.n_classes, axis=1)

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        return self._make_voter(like)

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        return self._make_voter(like).of_heads

    def _make_voter(self, like: Array) -> SoftVoter:
        return SoftVoter.of(cast_like(like, self.prototypes_), cast_like(like, self.head_weights_), self.temperature)
