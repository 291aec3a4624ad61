"""Why a clip was given its label: what every head added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Explanation:
    """What the heads said of some clips.

    Examples
    --------
    >>> from calm import CALMClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(10, 3, 8)), np.repeat(["dog", "rain"], 5)
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> why = CALMClassifier().fit(X, y).explain(X[:1])
    >>> why.labels, why.runners_up, why.top_heads(0, 1)[0][:2]
    (array(['dog'], dtype='<U4'), array(['rain'], dtype='<U4'), ('head 2', 'dog'))
    """

    labels: NDArray[Any]  #: predicted, (n,)
    runners_up: NDArray[Any]  #: the second best label, (n,)
    votes: NDArray[Any]  #: the label that each head alone favours, None where it tells none apart, (n, heads)
    parts: NDArray[np.floating]  #: what each head adds to the score of each class, (n, heads, C)
    #: (n, heads) what each head adds to the lead over the runner-up: above zero where it spoke for the prediction.
    #: Summed over heads, it is the lead itself (less what a class scores for any clip, where a method has such a term).
    importance: NDArray[np.floating]
    head_names: NDArray[np.str_]  #: (heads,)

    @classmethod
    def from_scores(
        cls,
        parts: NDArray[np.floating],
        scores: NDArray[np.floating],
        classes: NDArray[Any],
        head_names: NDArray[np.str_],
    ) -> Explanation:
        """Explain scores ``(n, C)`` by what heads added to them, ``(n, heads, C)``."""
        rows = np.arange(len(scores))
        votes = classes[parts.argmax(axis=2)].astype(object)
        votes[parts.max(axis=2) == parts.min(axis=2)] = None
        first, second = np.argsort(-scores, axis=1, kind="stable")[:, :2].T
        return cls(
            labels=classes[first],
            runners_up=classes[second],
            votes=votes,
            parts=parts,
            importance=parts[rows, :, first] - parts[rows, :, second],
            head_names=head_names,
        )

    def top_heads(self, clip: int, n: int = 10) -> list[tuple[str, Any, float]]:
        """Name the heads that mattered most for one clip, either way.

        Returns
        -------
        list of (name, label that the head favours, importance)
        """
        most = np.argsort(-np.abs(self.importance[clip]), kind="stable")[:n]
        return [(str(self.head_names[h]), self.votes[clip, h], float(self.importance[clip, h])) for h in most]
