"""Uniform vote: every head has the same weight."""

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
    """Few-shot classifier in which all attention heads have the same weight.

    It is the baseline for methods that weight or select heads.

    Parameters
    ----------
    voting : {"soft", "hard"}, default="soft"
        "soft" averages ``softmax(cos / τ)`` over heads. "hard" counts the heads whose most similar prototype is that
        of the class; a tie goes to the class with the larger mean similarity over heads.
    temperature : float, default=0.07
        Temperature τ of the softmax of the soft vote.
    n_heads : int, default=None
        Number of heads in an ``X`` of shape (n_clips, n_heads * head_dim). None treats such an ``X`` as one head, with
        a warning.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels, sorted.
    prototypes_ : array of shape (n_classes, n_heads, head_dim)
        Mean head vector of each class.
    class_count_, used_heads_, used_layers_, head_names_, extraction_
        See :class:`calm.classifiers.base.HeadClassifier`.

    See Also
    --------
    calm.SAVClassifier : Majority vote of the best heads.
    calm.GlobalWeightClassifier : Vote with one learned weight per head.
    calm.CALMClassifier : Weights of heads that depend on the class.

    Notes
    -----
    After :meth:`partial_fit`, the classifier equals a fit on all clips.

    Examples
    --------
    >>> import numpy as np
    >>> from calm import UniformVoteClassifier
    >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])  # 2 clips, 2 heads, 2 dimensions
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
        self, heads: slice, X: Array, stats: ClassStatistics, support: SupportSet, previous_counts: NDArray[np.floating]
    ) -> None:
        """Do nothing: only prototypes are learned."""

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        prototypes = cast_like(like, self.prototypes_)
        if self.voting == "soft":
            return self._make_voter(prototypes)
        return lambda X: vote_with_tie_break(cosine_similarity(X, prototypes)) / prototypes.shape[1]

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        """Return a function from head vectors to the share that each head adds to the vote."""
        prototypes = cast_like(like, self.prototypes_)
        if self.voting == "soft":
            return self._make_voter(prototypes).score_heads

        def vote(X: Array) -> Array:
            nearest = nearest_prototype(cosine_similarity(X, prototypes))[..., None]
            return namespace(X).astype(nearest == convert_like(X, np.arange(prototypes.shape[0])), X.dtype) / X.shape[1]

        return vote

    def _make_voter(self, prototypes: Array) -> SoftVoter:
        classes, heads, _ = prototypes.shape
        weights = convert_like(prototypes, np.full((heads, classes), 1 / heads), prototypes.dtype)
        return SoftVoter.from_prototypes(prototypes, weights, self.temperature)
