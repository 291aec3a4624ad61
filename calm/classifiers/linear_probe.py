"""The linear probe: logistic regression on all heads side by side, the baseline that no method may hide from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from calm.classifiers.base import HeadClassifier, cast_like
from calm.classifiers.held_out import Fold, choose_folds
from calm.classifiers.schema import LearnedArray, Positive
from calm.classifiers.support_set import SupportSet
from calm.fit import LinearVoter, softmax, unit_vectors
from calm.fit.arrays import Array, convert_like, namespace, to_numpy
from calm.fit.checks import check_positive
from calm.fit.vote import zeros

#: Candidates for C, and how many folds choose among them.
_CANDIDATE_C = (0.01, 0.1, 1.0, 10.0, 100.0)
_FOLDS = 5
_ONE_SHOT_C = 1.0


class LinearProbeClassifier(HeadClassifier):
    """Multinomial logistic regression, with an L2 penalty, on concatenated unit head vectors.

    Solved on the principal axes of the support set, of which there are as many as clips: the solution is the same as
    on all features, and found without ever holding them.

    Parameters
    ----------
    C : float, default=None
        Inverse strength of the penalty, as scikit-learn has it. Unless given, chosen from 0.01 to 100 by the accuracy
        of stratified cross-validation on the support set (5 folds, or as many as the smallest class has clips); with
        one clip of a class, 1.
    n_heads : int, default=None
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    directions_ : array (C, K, D)
        Coefficients.
    intercept_ : array (C,)
    C_ : float
        As chosen.
    classes_, class_count_, used_heads_, head_names_
        See :class:`calm.classifiers.base.HeadClassifier`.

    Examples
    --------
    >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])
    >>> LinearProbeClassifier().fit(X, ["dog", "rain"]).predict([[[3.0, 0.0], [1.0, 0.0]]])
    array(['dog'], dtype='<U4')
    """

    directions_: Annotated[Array, LearnedArray("CUD")]
    intercept_: Annotated[NDArray[np.float64], LearnedArray("C")]
    C_: Positive

    def __init__(self, *, C: float | None = None, n_heads: int | None = None) -> None:
        self.C = C
        self.n_heads = n_heads

    def fit(  # type: ignore[override] # folds are of clips, not of weights: it takes none
        self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None
    ) -> Self:
        """Learn from a support set.

        Parameters
        ----------
        X, y
            As for every method: :meth:`calm.classifiers.base.HeadClassifier.fit`.
        groups : array-like (n,), default=None
            Clips of one group are held out together when C is chosen. Those of a cache unless given.

        Returns
        -------
        self
        """
        return super().fit(X, y, groups=groups)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.C is not None:
            check_positive("C", self.C)

    def _learn(self, support: SupportSet) -> None:
        self.dim_ = support.heads.shape[2]
        self.used_heads_ = np.arange(support.heads.shape[1])
        self.class_count_ = support.counts.astype(np.int64)
        values, vectors = np.linalg.eigh(to_numpy(_compute_kernel(support)).astype(np.float64))
        axes = values > values.max() * 1e-7
        axes[-1] = True  # of vectors that are all zero too
        scale, vectors = np.sqrt(np.maximum(values[axes], np.finfo(np.float64).tiny)), vectors[:, axes]
        regression = self._fit_regression(vectors * scale, support)
        coefficients, self.intercept_ = regression.coef_, regression.intercept_
        if support.n_classes == 2:  # scikit-learn keeps one of two rows that differ in sign only
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            self.intercept_ = np.concatenate([-self.intercept_, self.intercept_]) / 2
        self._fold_into_directions(support, (vectors / scale) @ coefficients.T)

    def _fit_regression(self, features: NDArray[np.float64], support: SupportSet) -> Any:
        regression = LogisticRegression(max_iter=10_000, tol=1e-5)
        folds = self._choose_folds(support) if self.C is None else []
        if folds:
            search = GridSearchCV(regression, {"C": _CANDIDATE_C}, cv=folds)
            self.C_ = float(search.fit(features, support.y).best_params_["C"])
        else:
            self.C_ = _ONE_SHOT_C if self.C is None else float(self.C)
        return regression.set_params(C=self.C_).fit(features, support.y)

    def _choose_folds(self, support: SupportSet) -> list[Fold]:
        n_folds = min(_FOLDS, int(self.class_count_.min()))
        by_clip = list(StratifiedKFold(n_folds).split(support.y, support.y)) if n_folds > 1 else []
        return choose_folds(support.groups, support.y, _FOLDS, by_clip)

    def _fold_into_directions(self, support: SupportSet, dual: NDArray[np.float64]) -> None:
        """Turn coefficients of clips ``(n, C)`` into directions of heads."""
        _, heads, dim = support.heads.shape
        like = support.heads.like
        self.directions_ = zeros(like, (support.n_classes, heads, dim))
        of_clips = convert_like(like, dual.T, like.dtype)

        def fold(part: slice, X: Array) -> None:
            xp = namespace(X)
            flat = xp.reshape(unit_vectors(X), (X.shape[0], -1))
            self.directions_[:, part] = xp.reshape(of_clips @ flat, (-1, *X.shape[1:]))

        support.for_each_block(fold)

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        voter, intercept = LinearVoter(cast_like(like, self.directions_), None), cast_like(like, self.intercept_)
        return lambda X: voter(X) + intercept

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        return LinearVoter(cast_like(like, self.directions_), None).of_heads

    def _compute_probabilities(self, scores: Array) -> Array:
        return softmax(scores, axis=1)


def _compute_kernel(support: SupportSet) -> Array:
    """Compute the inner products of clips' concatenated unit head vectors, ``(n, n)``."""
    like, clips = support.heads.like, support.heads.shape[0]

    def add(kernel: Array, X: Array) -> None:
        flat = namespace(X).reshape(unit_vectors(X), (clips, -1))
        kernel += flat @ flat.T

    return support.sum_over_blocks(lambda: zeros(like, (clips, clips)), add)
