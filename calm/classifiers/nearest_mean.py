"""The nearest class mean, on all heads side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.base import cast_like
from calm.classifiers.prototype import PrototypeClassifier
from calm.classifiers.support_set import SupportSet
from calm.fit import ClassStatistics, LinearVoter, softmax, unit_vectors
from calm.fit.arrays import Array, namespace

#: Of the softmax of half squared distances, a head: makes probabilities that rank.
_TEMPERATURE = 0.07


class NearestMeanClassifier(PrototypeClassifier):
    """Few-shot classifier that takes the class whose mean is nearest, on concatenated unit head vectors.

    :meth:`partial_fit` equals a fit on all clips. Probabilities rank, and are not calibrated.

    Parameters
    ----------
    n_heads : int, default=None
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    prototypes_ : array (C, K, D)
        Means of *unit* head vectors.
    classes_, class_count_, used_heads_, head_names_
        See :class:`calm.classifiers.base.HeadClassifier`.

    Examples
    --------
    >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])
    >>> NearestMeanClassifier().fit(X, ["dog", "rain"]).predict([[[3.0, 0.0], [1.0, 0.0]]])
    array(['dog'], dtype='<U4')
    """

    def __init__(self, *, n_heads: int | None = None) -> None:
        self.n_heads = n_heads

    def _vectors_to_average(self, X: Array) -> Array:
        return unit_vectors(X)

    def _learn_heads(
        self, part: slice, X: Array, stats: ClassStatistics, support: SupportSet, before: NDArray[np.floating]
    ) -> None:
        """Means are all that there is to learn."""

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        xp, means = namespace(like), cast_like(like, self.prototypes_)
        heads = means.shape[1]
        voter, offset = LinearVoter(means / heads, None), xp.sum(means**2, axis=(1, 2)) / (2 * heads)
        return lambda X: voter(X) - offset

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        means = cast_like(like, self.prototypes_)
        return LinearVoter(means / means.shape[1], None).of_heads

    def _compute_probabilities(self, scores: Array) -> Array:
        return softmax(scores / _TEMPERATURE, axis=1)
