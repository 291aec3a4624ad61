"""SAV: sparse attention vectors, the uniform vote to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.base import HeadClassifier
from calm.fit import cosine_similarity, head_hits, sparse_vote, top_heads_by_hits
from calm.heads import HeadVectors

#: Weighs the mean similarity against whole votes: enough to settle a tie, never enough to overturn a vote.
_TIE_BREAK = 1e-3


class SAVClassifier(HeadClassifier):
    """Few-shot classifier in which the best heads cast one vote each (SAV, arXiv 2412.00142).

    Each head classifies the support set by its nearest prototype; the heads with most hits are kept; each votes for
    its nearest prototype, and the majority wins. A tie goes to the class that these heads find more similar on
    average.

    Parameters
    ----------
    top_heads : int
        How many heads vote.
    n_heads : int, optional
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    voting_heads_ : array of int (min(top_heads, K),)
        Best first.
    hits_ : array of int (K,)
        Support clips that each head classifies rightly.
    prototypes_ : array (C, K, D)
    classes_, class_count_ : arrays (C,)

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

    def __init__(self, *, top_heads: int = 20, n_heads: int | None = None) -> None:
        self.top_heads = top_heads
        self.n_heads = n_heads

    def _learn(self, heads: HeadVectors, y: NDArray[np.int64]) -> None:
        self.hits_ = np.zeros(heads.shape[1], dtype=np.int64)
        for block, labels in self._labelled_blocks(heads, y):
            self.hits_ += head_hits(cosine_similarity(block, self.prototypes_), labels)
        self.voting_heads_ = top_heads_by_hits(self.hits_, self.top_heads)

    def _score(self, block: NDArray[np.floating]) -> NDArray[np.float64]:
        similarity = cosine_similarity(block[:, self.voting_heads_], self.prototypes_[:, self.voting_heads_])
        return sparse_vote(similarity) + _TIE_BREAK * (similarity.mean(axis=1) + 1) / 2
