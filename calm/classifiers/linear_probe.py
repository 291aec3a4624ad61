"""Linear probe: logistic regression on the concatenated vectors of all heads."""

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
from calm.fit import LinearVoter, unit_vectors
from calm.fit.arrays import Array, convert_like, namespace, to_numpy
from calm.fit.checks import check_positive
from calm.fit.vote import zeros

#: Candidate values of C, and the number of cross-validation folds that choose among them.
_CANDIDATE_C = (0.01, 0.1, 1.0, 10.0, 100.0)
_FOLDS = 5
#: Value of C if no clip can be held out.
_ONE_SHOT_C = 1.0


class LinearProbeClassifier(HeadClassifier):
    """Few-shot classifier by logistic regression on concatenated unit head vectors.

    Each head vector is scaled to unit length, and the vectors of all heads are concatenated. The multinomial logistic
    regression has an L2 penalty.

    Parameters
    ----------
    C : float, default=None
        Inverse strength of the penalty, as in :class:`sklearn.linear_model.LogisticRegression`. None chooses C from
        0.01, 0.1, 1, 10 and 100 by cross-validated accuracy on the support set, with 5 stratified folds or as many as
        the smallest class has clips. C is 1 if no clip can be held out.
    n_heads : int, default=None
        Number of heads in an ``X`` of shape (n_clips, n_heads * head_dim). None treats such an ``X`` as one head, with
        a warning.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels, sorted.
    directions_ : array of shape (n_classes, n_heads, head_dim)
        Coefficients of the logistic regression.
    intercept_ : array of float64 of shape (n_classes,)
        Intercept of each class.
    C_ : float
        Value of C that was used.
    class_count_, used_heads_, used_layers_, head_names_, extraction_
        See :class:`calm.classifiers.base.HeadClassifier`.

    See Also
    --------
    calm.NearestMeanClassifier : Nearest class mean on the same vectors.
    calm.CALMClassifier : Weights of heads that depend on the class.
    sklearn.linear_model.LogisticRegression : The underlying estimator.

    Notes
    -----
    The regression is solved on the principal axes of the support set, of which there are at most as many as clips.
    The solution equals that on all features, which are never held in memory at once.

    Unlike the other classifiers, the linear probe takes no ``sample_weight`` and has no ``partial_fit``.

    Examples
    --------
    >>> import numpy as np
    >>> from calm import LinearProbeClassifier
    >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])  # 2 clips, 2 heads, 2 dimensions
    >>> clf = LinearProbeClassifier().fit(X, ["dog", "rain"])
    >>> clf.predict([[[3.0, 0.0], [1.0, 0.0]]])
    array(['dog'], dtype='<U4')
    """

    directions_: Annotated[Array, LearnedArray("CUD")]
    intercept_: Annotated[NDArray[np.float64], LearnedArray("C")]
    C_: Positive

    def __init__(self, *, C: float | None = None, n_heads: int | None = None) -> None:
        self.C = C
        self.n_heads = n_heads

    def fit(  # type: ignore[override] # no sample_weight: folds consist of whole clips
        self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None
    ) -> Self:
        """Fit the classifier on a support set.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the support clips: an array of shape (n_clips, n_heads, head_dim),
            (n_clips, n_layers, n_heads, head_dim), or (n_clips, n_heads * head_dim) together with the parameter
            ``n_heads``. A :class:`calm.HeadCache`, or a selection of its rows, is read in blocks.
        y : array-like of shape (n_clips,)
            Class labels: text, numbers or booleans.
        groups : array-like of shape (n_clips,), default=None
            Group of each clip, such as its speaker or recording. Whole groups are held out when C is chosen. By
            default, the groups of a :class:`calm.HeadCache` are used, and no groups otherwise.

        Returns
        -------
        self : LinearProbeClassifier
            The fitted classifier.
        """
        return super().fit(X, y, groups=groups)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.C is not None:
            check_positive("C", self.C)

    def _learn(self, support: SupportSet) -> None:
        """Fit the regression on the principal axes of the support set, and compute directions from it."""
        self.dim_ = support.heads.shape[2]
        self.used_heads_ = np.arange(support.heads.shape[1])
        self.class_count_ = support.counts.astype(np.int64)
        values, vectors = np.linalg.eigh(to_numpy(_compute_kernel(support)).astype(np.float64))
        axes = values > values.max() * 1e-7
        axes[-1] = True  # keep one axis even if all head vectors are zero
        scale, vectors = np.sqrt(np.maximum(values[axes], np.finfo(np.float64).tiny)), vectors[:, axes]
        regression = self._fit_regression(vectors * scale, support)
        coefficients, self.intercept_ = regression.coef_, regression.intercept_
        if support.n_classes == 2:  # scikit-learn stores a single row for two classes
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            self.intercept_ = np.concatenate([-self.intercept_, self.intercept_]) / 2
        self._fold_into_directions(support, (vectors / scale) @ coefficients.T)

    def _fit_regression(self, features: NDArray[np.float64], support: SupportSet) -> Any:
        """Choose C, if it is not given, and fit scikit-learn's logistic regression on all clips."""
        regression = LogisticRegression(max_iter=10_000, tol=1e-5)
        folds = self._choose_folds(support) if self.C is None else []
        if folds:
            search = GridSearchCV(regression, {"C": _CANDIDATE_C}, cv=folds)
            self.C_ = float(search.fit(features, support.y).best_params_["C"])
        else:
            self.C_ = _ONE_SHOT_C if self.C is None else float(self.C)
        return regression.set_params(C=self.C_).fit(features, support.y)

    def _choose_folds(self, support: SupportSet) -> list[Fold]:
        """Return the cross-validation folds that choose C; none if a class has a single clip."""
        n_folds = min(_FOLDS, int(self.class_count_.min()))
        by_clip = list(StratifiedKFold(n_folds).split(support.y, support.y)) if n_folds > 1 else []
        return choose_folds(support.groups, support.y, _FOLDS, by_clip)

    def _fold_into_directions(self, support: SupportSet, dual: NDArray[np.float64]) -> None:
        """Compute directions of heads from the dual coefficients of clips, ``(n, C)``."""
        _, heads, dim = support.heads.shape
        like = support.heads.like
        self.directions_ = zeros(like, (support.n_classes, heads, dim))
        coefficients = convert_like(like, dual.T, like.dtype)

        def compute_block(block: slice, X: Array) -> None:
            xp = namespace(X)
            flat = xp.reshape(unit_vectors(X), (X.shape[0], -1))
            self.directions_[:, block] = xp.reshape(coefficients @ flat, (-1, *X.shape[1:]))

        support.for_each_block(compute_block)

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        voter, intercept = LinearVoter(cast_like(like, self.directions_), None), cast_like(like, self.intercept_)
        return lambda X: voter(X) + intercept

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        return LinearVoter(cast_like(like, self.directions_), None).score_heads

    def _compute_final_logits(self, scores: Array) -> Array:
        return scores


def _compute_kernel(support: SupportSet) -> Array:
    """Compute inner products between the concatenated unit head vectors of clips, ``(n, n)``."""
    like, n_clips = support.heads.like, support.heads.shape[0]

    def add_block(kernel: Array, X: Array) -> None:
        flat = namespace(X).reshape(unit_vectors(X), (n_clips, -1))
        kernel += flat @ flat.T

    return support.sum_over_blocks(lambda: zeros(like, (n_clips, n_clips)), add_block)
