"""SAV: sparse attention vectors, the uniform vote to beat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.base import cast_like
from calm.classifiers.inputs import support_blocks
from calm.classifiers.prototype import PrototypeClassifier
from calm.classifiers.schema import LearnedArray
from calm.classifiers.support_set import SupportSet
from calm.fit import ClassStatistics, cosine_similarity, head_hits, top_heads_by_hits, vote_with_tie_break
from calm.fit.arrays import Array, convert_like, namespace
from calm.fit.checks import check_count
from calm.fit.sparse_vote import nearest_prototype


class SAVClassifier(PrototypeClassifier):
    """Few-shot classifier in which the best heads cast one vote each (SAV, arXiv 2412.00142).

    Each head classifies the support set by its nearest prototype; the heads with most hits are kept; each votes for
    its nearest prototype, and the majority wins. A tie goes to the class that these heads find more similar on
    average.

    :meth:`partial_fit`: prototypes are those of a fit on all clips; hits are added up, each clip judged when it came,
    and only heads that were kept at first are judged anew.

    Parameters
    ----------
    top_heads : int, default=20
        How many heads vote.
    n_heads : int, default=None
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    voting_heads_ : array of int (min(top_heads, K),)
        Best first.
    hits_ : array (K,)
        Support clips that each head classifies rightly.
    prototypes_ : array (C, used heads, D)
    classes_, class_count_, used_heads_, head_names_
        See :class:`calm.classifiers.base.HeadClassifier`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> SAVClassifier(top_heads=1).fit(X, y).voting_heads_
    array([2])
    """

    used_heads_: Annotated[NDArray[np.int64], LearnedArray("U", "heads", ascending=True)]
    voting_heads_: Annotated[NDArray[np.int64], LearnedArray("U", "heads")]
    hits_: Annotated[NDArray[Any], LearnedArray("K", "counts")]

    def __init__(self, *, top_heads: int = 20, n_heads: int | None = None) -> None:
        self.top_heads = top_heads
        self.n_heads = n_heads

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_count("top_heads", self.top_heads)

    def _init_head_results(self, support: SupportSet) -> None:
        self.hits_ = np.zeros(support.heads.shape[1])

    def _learn_heads(
        self, part: slice, X: Array, stats: ClassStatistics, support: SupportSet, before: NDArray[np.floating]
    ) -> None:
        for clips in support_blocks(X, support.n_classes):
            weights = None if support.weights is None else support.weights[clips]
            hits = head_hits(cosine_similarity(X[clips], stats.means), support.y[clips], weights)
            self.hits_[self.used_heads_[part]] += hits

    def _combine_heads(self, support: SupportSet, before: NDArray[np.floating], earlier: Array | None) -> None:
        best = top_heads_by_hits(self.hits_[self.used_heads_], self.top_heads)
        self.voting_heads_ = self.used_heads_[best]
        kept = np.sort(best)
        self.used_heads_ = self.used_heads_[kept]
        self.prototypes_ = self.prototypes_[:, kept] + 0.0

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        prototypes = cast_like(like, self.prototypes_)
        return lambda X: vote_with_tie_break(cosine_similarity(X, prototypes))

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        prototypes = cast_like(like, self.prototypes_)

        def vote(X: Array) -> Array:
            nearest = nearest_prototype(cosine_similarity(X, prototypes))[..., None]
            return namespace(X).astype(nearest == convert_like(X, np.arange(prototypes.shape[0])), X.dtype)

        return vote
