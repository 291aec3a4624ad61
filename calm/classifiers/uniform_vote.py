"""The uniform vote: every head counts the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.base import cast_like
from calm.classifiers.prototype import PrototypeClassifier
from calm.classifiers.support_set import SupportSet
from calm.fit import ClassStatistics, SoftVoter, cosine_similarity, vote_with_tie_break
from calm.fit.arrays import Array, convert_like, namespace
from calm.fit.checks import check_choice, check_positive
from calm.fit.sparse_vote import nearest_prototype


class UniformVoteClassifier(PrototypeClassifier):
    """Few-shot classifier in which all heads vote alike: what weights have to beat.

    :meth:`partial_fit` equals a fit on all clips.

    Parameters
    ----------
    voting : {"soft", "hard"}, default="soft"
        The mean over heads of ``softmax(cos / τ)``, or the share of heads whose nearest prototype it is; a tie goes to
        the class that heads find more similar on average.
    temperature : float, default=0.07
        τ of the soft vote.
    n_heads : int, default=None
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    prototypes_ : array (C, K, D)
    classes_, class_count_, used_heads_, head_names_
        See :class:`calm.classifiers.base.HeadClassifier`.

    Examples
    --------
    >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])
    >>> UniformVoteClassifier(voting="hard").fit(X, ["dog", "rain"]).predict_proba(X).round(2)
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(
        self,
        *,
        voting: Literal["soft", "hard"] = "soft",
        temperature: float = 0.07,
        n_heads: int | None = None,
    ) -> None:
        self.voting = voting
        self.temperature = temperature
        self.n_heads = n_heads

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("voting", self.voting, ("soft", "hard"))
        check_positive("temperature", self.temperature)

    def _learn_heads(
        self, part: slice, X: Array, stats: ClassStatistics, support: SupportSet, before: NDArray[np.floating]
    ) -> None:
        """Prototypes are all that there is to learn."""

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        prototypes = cast_like(like, self.prototypes_)
        if self.voting == "soft":
            return self._make_voter(prototypes)
        return lambda X: vote_with_tie_break(cosine_similarity(X, prototypes)) / prototypes.shape[1]

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        prototypes = cast_like(like, self.prototypes_)
        if self.voting == "soft":
            return self._make_voter(prototypes).of_heads

        def vote(X: Array) -> Array:
            nearest = nearest_prototype(cosine_similarity(X, prototypes))[..., None]
            return namespace(X).astype(nearest == convert_like(X, np.arange(prototypes.shape[0])), X.dtype) / X.shape[1]

        return vote

    def _make_voter(self, prototypes: Array) -> SoftVoter:
        classes, heads, _ = prototypes.shape
        weights = convert_like(prototypes, np.full((heads, classes), 1 / heads), prototypes.dtype)
        return SoftVoter.of(prototypes, weights, self.temperature)
