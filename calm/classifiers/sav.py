"""SAV: majority vote of the heads that classify the support set best (sparse attention vectors)."""

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
    """Few-shot classifier with a majority vote of the best attention heads (SAV, arXiv 2412.00142).

    Each head classifies the support clips by their most similar class prototype (cosine similarity). The heads with
    the most correct support clips are kept. Each of them votes for the prototype most similar to the query, and the
    class with the most votes is predicted. A tie goes to the class with the larger mean similarity over these heads.

    Parameters
    ----------
    top_heads : int, default=20
        Number of heads that vote.
    n_heads : int, default=None
        Number of heads in an ``X`` of shape (n_clips, n_heads * head_dim). None treats such an ``X`` as one head, with
        a warning.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels, sorted.
    voting_heads_ : array of int of shape (min(top_heads, n_heads),)
        Indices of the heads that vote, the best head first.
    hits_ : array of shape (n_heads,)
        Number of support clips that each head classifies correctly.
    prototypes_ : array of shape (n_classes, n_used_heads, head_dim)
        Mean head vector of each class.
    class_count_, used_heads_, used_layers_, head_names_, extraction_
        See :class:`calm.classifiers.base.HeadClassifier`.

    See Also
    --------
    calm.CALMClassifier : Weights of heads that depend on the class.
    calm.UniformVoteClassifier : Vote of all heads.
    calm.fit.top_heads_by_hits : Select the heads with the most hits.

    Notes
    -----
    After :meth:`partial_fit`, prototypes equal those of a fit on all clips. Hits are added up, and each clip is scored
    once, when it is added. Only the heads that were kept by the first fit can be kept.

    References
    ----------
    .. [1] Sparse attention vectors (SAV), arXiv 2412.00142.

    Examples
    --------
    Only the last of three heads separates the classes:

    >>> import numpy as np
    >>> from calm import SAVClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))  # 10 clips, 3 heads, 8 dimensions
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> clf = SAVClassifier(top_heads=1).fit(X, y)
    >>> clf.voting_heads_
    array([2])
    >>> clf.score(X, y)
    1.0
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
        self, heads: slice, X: Array, stats: ClassStatistics, support: SupportSet, previous_counts: NDArray[np.floating]
    ) -> None:
        """Add the support clips that each head classifies correctly to its hits."""
        for clips in support_blocks(X, support.n_classes):
            weights = None if support.weights is None else support.weights[clips]
            hits = head_hits(cosine_similarity(X[clips], stats.means), support.y[clips], weights)
            self.hits_[self.used_heads_[heads]] += hits

    def _combine_heads(
        self, support: SupportSet, previous_counts: NDArray[np.floating], previous_prototypes: Array | None
    ) -> None:
        """Keep only the ``top_heads`` heads with the most hits."""
        best = top_heads_by_hits(self.hits_[self.used_heads_], self.top_heads)
        self.voting_heads_ = self.used_heads_[best]
        kept = np.sort(best)
        self.used_heads_ = self.used_heads_[kept]
        self.prototypes_ = self.prototypes_[:, kept] + 0.0

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        prototypes = cast_like(like, self.prototypes_)
        return lambda X: vote_with_tie_break(cosine_similarity(X, prototypes))

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        """Return a function from head vectors to the vote of each head, 0 or 1 for each class."""
        prototypes = cast_like(like, self.prototypes_)

        def vote(X: Array) -> Array:
            nearest = nearest_prototype(cosine_similarity(X, prototypes))[..., None]
            return namespace(X).astype(nearest == convert_like(X, np.arange(prototypes.shape[0])), X.dtype)

        return vote
