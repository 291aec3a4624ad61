"""Explanations of predictions by the contribution of each attention head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Explanation:
    """Contribution of each attention head to the predicted labels of some clips.

    Returned by the ``explain`` method of every classifier. ``n_heads`` counts the heads that the classifier uses.

    Attributes
    ----------
    labels : array of shape (n_clips,)
        Predicted labels.
    runners_up : array of shape (n_clips,)
        Labels with the second largest score.
    votes : array of object of shape (n_clips, n_heads)
        Label that each head alone favours, or None if the head contributes the same to every class.
    contributions : array of shape (n_clips, n_heads, n_classes)
        Contribution of each head to the score of each class.
    importance : array of shape (n_clips, n_heads)
        Contribution of each head to the margin between the predicted label and the runner-up. It is positive if the
        head supports the prediction. Its sum over heads is the margin, except for classifiers whose scores also have
        an offset per class.
    head_names : array of str of shape (n_heads,)
        Name of each head.

    See Also
    --------
    calm.CALMClassifier : Few-shot classifier with class-conditional head weights.
    calm.fit.head_specialization : Measure how differently heads serve different classes.

    Examples
    --------
    Only the last of three heads separates the classes:

    >>> import numpy as np
    >>> from calm import CALMClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(10, 3, 8)), np.repeat(["dog", "rain"], 5)
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> explanation = CALMClassifier().fit(X, y).explain(X[:1])
    >>> explanation.labels, explanation.runners_up
    (array(['dog'], dtype='<U4'), array(['rain'], dtype='<U4'))
    >>> name, label, importance = explanation.top_heads(0, n=1)[0]
    >>> name, str(label), importance > 0
    ('head 2', 'dog', True)
    """

    labels: NDArray[Any]
    runners_up: NDArray[Any]
    votes: NDArray[Any]
    contributions: NDArray[np.floating]
    importance: NDArray[np.floating]
    head_names: NDArray[np.str_]

    @classmethod
    def from_scores(
        cls,
        contributions: NDArray[np.floating],
        scores: NDArray[np.floating],
        classes: NDArray[Any],
        head_names: NDArray[np.str_],
    ) -> Explanation:
        """Build an explanation from scores and the contributions of heads to them.

        Parameters
        ----------
        contributions : array of shape (n_clips, n_heads, n_classes)
            Contribution of each head to the score of each class.
        scores : array of shape (n_clips, n_classes)
            Scores of the classes.
        classes : array of shape (n_classes,)
            Class labels.
        head_names : array of str of shape (n_heads,)
            Name of each head.

        Returns
        -------
        Explanation
            The explanation of all clips.
        """
        rows = np.arange(len(scores))
        votes = classes[contributions.argmax(axis=2)].astype(object)
        votes[contributions.max(axis=2) == contributions.min(axis=2)] = None
        first, second = np.argsort(-scores, axis=1, kind="stable")[:, :2].T
        return cls(
            labels=classes[first],
            runners_up=classes[second],
            votes=votes,
            contributions=contributions,
            importance=contributions[rows, :, first] - contributions[rows, :, second],
            head_names=head_names,
        )

    def top_heads(self, clip: int, n: int = 10) -> list[tuple[str, Any, float]]:
        """List the heads with the largest absolute importance for one clip.

        Parameters
        ----------
        clip : int
            Index of the clip.
        n : int, default=10
            Maximum number of heads to list.

        Returns
        -------
        list of (str, label, float)
            Name, favoured label and importance of each head, the most important head first.

        See Also
        --------
        calm.CALMClassifier.explain : Explain predictions by the contribution of each attention head.

        Examples
        --------
        >>> import numpy as np
        >>> from calm import NearestMeanClassifier
        >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])
        >>> explanation = NearestMeanClassifier().fit(X, [1, 2]).explain(X)
        >>> [(name, label) for name, label, _ in explanation.top_heads(1)]
        [('head 1', 2), ('head 0', 2)]
        """
        most_important = np.argsort(-np.abs(self.importance[clip]), kind="stable")[:n]
        return [(str(self.head_names[h]), self.votes[clip, h], float(self.importance[clip, h])) for h in most_important]
