"""GRW: one weight per head, shared by all classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import cast_like
from calm.classifiers.reliability import ReliabilityClassifier
from calm.classifiers.schema import LearnedArray
from calm.classifiers.support_set import SupportSet
from calm.fit import SoftVoter, head_weights
from calm.fit.arrays import Array
from calm.fit.checks import check_positive
from calm.fit.reliability import Scheme


class GlobalWeightClassifier(ReliabilityClassifier):
    """Few-shot classifier with one weight per attention head, shared by all classes (GRW, arXiv 2602.07077).

    The reliability of a head is its mean score over all support clips. The weights are ``softmax_h(r / τ_w)``, and the
    weighted vote is the one of CALM. The defaults are those of the published code.

    Parameters
    ----------
    reliability : {"margin", "raw_margin", "probability", "brier", "separation"}, default="margin"
        How a head is scored on a support clip; see :func:`calm.fit.clip_reliability` for the formulas.
    temperature : float, default=0.07
        Temperature τ of each head's softmax over classes.
    weight_temperature : float, default=0.5
        Temperature τ_w of the softmax over heads. A large value makes the weights uniform.
    cross_fit : bool, default=False
        Whether each support clip is left out of the prototypes when heads are scored on it. A clip that is the only
        one of its class is then not scored.
    n_heads : int, default=None
        Number of heads in an ``X`` of shape (n_clips, n_heads * head_dim). None treats such an ``X`` as one head, with
        a warning.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels, sorted.
    head_weights_ : array of float64 of shape (n_heads, n_classes)
        Weight of each head, repeated for each class. The weights sum to one over heads.
    reliability_ : array of float64 of shape (n_heads,)
        Reliability of each head.
    prototypes_ : array of shape (n_classes, n_heads, head_dim)
        Mean head vector of each class.
    class_count_, used_heads_, used_layers_, head_names_, extraction_
        See :class:`calm.classifiers.base.HeadClassifier`.

    See Also
    --------
    calm.CALMClassifier : Weights of heads that depend on the class.
    calm.UniformVoteClassifier : The same weight for all heads.
    calm.fit.clip_reliability : Score heads on labelled clips.

    Notes
    -----
    After :meth:`partial_fit`, prototypes equal those of a fit on all clips. Each clip contributes to the reliabilities
    as it was scored when it was added.

    References
    ----------
    .. [1] The GRW baseline of CALM, arXiv 2602.07077.

    Examples
    --------
    Only the last of three heads separates the classes:

    >>> import numpy as np
    >>> from calm import GlobalWeightClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))  # 10 clips, 3 heads, 8 dimensions
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> clf = GlobalWeightClassifier(cross_fit=True).fit(X, y)
    >>> int(clf.reliability_.argmax())
    2
    """

    head_weights_: Annotated[NDArray[np.float64], LearnedArray("KC")]

    def __init__(
        self,
        *,
        reliability: Scheme = "margin",
        temperature: float = 0.07,
        weight_temperature: float = 0.5,
        cross_fit: bool = False,
        n_heads: int | None = None,
    ) -> None:
        self.reliability = reliability
        self.temperature = temperature
        self.weight_temperature = weight_temperature
        self.cross_fit = cross_fit
        self.n_heads = n_heads

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_positive("weight_temperature", self.weight_temperature)

    @property
    def reliability_(self) -> NDArray[np.float64]:
        """Reliability of each head, of shape (n_heads,): its mean score over all support clips."""
        check_is_fitted(self)
        return self.class_reliability_ @ self.judged_count_ / max(self.judged_count_.sum(), 1e-12)

    def _combine_heads(
        self, support: SupportSet, previous_counts: NDArray[np.floating], previous_prototypes: Array | None
    ) -> None:
        # As published, the weights are a softmax for every reliability; this is the rule of "probability".
        shared = head_weights(self.reliability_[:, None], "probability", self.weight_temperature)
        self.head_weights_ = np.repeat(shared, support.n_classes, axis=1)

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        return self._make_voter(like)

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        return self._make_voter(like).score_heads

    def _make_voter(self, like: Array) -> SoftVoter:
        return SoftVoter.from_prototypes(
            cast_like(like, self.prototypes_), cast_like(like, self.head_weights_), self.temperature
        )
