"""Nearest class mean on the concatenated vectors of all heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.base import cast_like
from calm.classifiers.prototype import PrototypeClassifier
from calm.classifiers.support_set import SupportSet
from calm.fit import ClassStatistics, LinearVoter, unit_vectors
from calm.fit.arrays import Array, namespace

#: Temperature of the softmax over classes, for half the squared distance per head.
_TEMPERATURE = 0.07


class NearestMeanClassifier(PrototypeClassifier):
    """Few-shot classifier that predicts the class with the nearest mean of concatenated unit head vectors.

    Each head vector is scaled to unit length, and the vectors of all heads are concatenated. The class whose mean has
    the smallest Euclidean distance is predicted.

    Parameters
    ----------
    n_heads : int, default=None
        Number of heads in an ``X`` of shape (n_clips, n_heads * head_dim). None treats such an ``X`` as one head, with
        a warning.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels, sorted.
    prototypes_ : array of shape (n_classes, n_heads, head_dim)
        Mean *unit* head vector of each class.
    class_count_, used_heads_, used_layers_, head_names_, extraction_
        See :class:`calm.classifiers.base.HeadClassifier`.

    See Also
    --------
    calm.LinearProbeClassifier : Logistic regression on the same vectors.
    calm.UniformVoteClassifier : Vote of all heads with the same weight.
    calm.CALMClassifier : Weights of heads that depend on the class.

    Notes
    -----
    After :meth:`partial_fit`, the classifier equals a fit on all clips. The probabilities rank classes, but are not
    calibrated.

    Examples
    --------
    >>> import numpy as np
    >>> from calm import NearestMeanClassifier
    >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])  # 2 clips, 2 heads, 2 dimensions
    >>> clf = NearestMeanClassifier().fit(X, ["dog", "rain"])
    >>> clf.predict([[[3.0, 0.0], [1.0, 0.0]]])
    array(['dog'], dtype='<U4')
    """

    def __init__(self, *, n_heads: int | None = None) -> None:
        self.n_heads = n_heads

    def _vectors_to_average(self, X: Array) -> Array:
        return unit_vectors(X)

    def _learn_heads(
        self, heads: slice, X: Array, stats: ClassStatistics, support: SupportSet, previous_counts: NDArray[np.floating]
    ) -> None:
        """Do nothing: only prototypes are learned."""

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        xp, means = namespace(like), cast_like(like, self.prototypes_)
        n_heads = means.shape[1]
        voter, offset = LinearVoter(means / n_heads, None), xp.sum(means**2, axis=(1, 2)) / (2 * n_heads)
        return lambda X: voter(X) - offset

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        means = cast_like(like, self.prototypes_)
        return LinearVoter(means / means.shape[1], None).score_heads

    def _compute_final_logits(self, scores: Array) -> Array:
        return scores / _TEMPERATURE
