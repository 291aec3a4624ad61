"""CALM: class-conditional attention-head weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from calm.classifiers.base import cast_like
from calm.classifiers.held_out import HeldOutScores, held_out_folds
from calm.classifiers.joint_fit import Examples, PreviousPrototypes, compute_kernels, fit_jointly, relative_head_norms
from calm.classifiers.reliability import ReliabilityClassifier
from calm.classifiers.schema import LearnedArray, Loss, Positive, Share
from calm.classifiers.support_set import SupportSet
from calm.fit import (
    ClassStatistics,
    LinearVoter,
    Metric,
    SoftVoter,
    head_weights,
    shrink_reliability,
    softmax,
    whitening,
)
from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy
from calm.fit.checks import check_choice, check_count, check_flag, check_not_negative, check_positive, check_share
from calm.fit.metric import check_whitening
from calm.fit.parallel import chunk_slices, parallel_map
from calm.fit.reliability import Scheme
from calm.fit.ridge import PRIOR_STRENGTH, PRIOR_TEMPERATURE, STRENGTHS, ridge_path
from calm.machine import available_cores

_HELD_OUT_BLOCK = 64
#: Heads whose metric is worked out together.
_HEADS_AT_ONCE = 16

Combination = Literal["joint", "vote"]


class CALMClassifier(ReliabilityClassifier):
    """Few-shot classifier that learns how far to trust each attention head for each class (after arXiv 2602.07077).

    Three steps, each of which can be had as published (:meth:`published`):

    1. Each head is whitened by its within-class covariance, and compares clips with prototypes by cosine.
    2. Its reliability is scored on the support set, each clip against prototypes, and in a metric, built without it.
    3. All heads together decide, the more reliable with more weight: by one ridge regression over the whitened heads,
       whose strength is chosen on the support set (``combine="joint"``), or by the published weighted vote of
       ``softmax(cos / τ)`` (``combine="vote"``).

    The defaults are what won on held-out clips of many kinds; see ``benchmarks/README.md``. With one clip a class
    nothing is left when it is taken out: heads are centred but not whitened, and count the same.

    Strength and temperature are chosen by the log loss of support clips held out in five folds (of many clips, in
    fewer), with priors that hold them where clips are few.

    :meth:`partial_fit`: counts, prototypes, scatter, and so the whitening, are those of a fit on all clips; strength
    and temperature stay as chosen. Reliabilities are means over clips, each scored when it came. Directions
    (``combine="joint"``) are learnt from the new clips and, in place of those before, their class means, which costs
    some accuracy.

    Parameters
    ----------
    combine : {"joint", "vote"}, default="joint"
    whitening : "oas", float or None, default="oas"
        How strongly the covariance is shrunk toward a scaled identity, between 0 and 1; "oas" works it out for each
        head; None leaves head vectors as they are.
    reliability : {"separation", "margin", "raw_margin", "probability", "brier"}, default="separation"
        How a head is scored on a support clip; see :func:`calm.fit.clip_reliability`.
    temperature : float, default=0.07
        τ of the heads' softmax, where there is one: in the vote, and in all reliabilities but the separation.
    weight_temperature : float, default=0.5
        τ_w; large brings the weights close to uniform.
    shrinkage : float, default=0.0
        α, in clips: how strongly reliabilities are pulled toward the mean of all.
    top_heads : int, default=None
        Use only so many heads: of all (joint), or for each class (vote). The fitted classifier is small then, and
        :attr:`used_layers_` tells which layers it needs.
    cross_fit : bool, default=True
        Leave each support clip out of what it is compared with. The published code does not.
    strength : float, default=None
        λ of the ridge, where a kernel's diagonal is 1; chosen on the support set unless given.
    calibrate : bool, default=True
        Choose the temperature of :meth:`predict_proba` by the log loss of held-out support clips. Else it is 1.
    n_heads : int, default=None
        How many heads lie side by side in a flat ``X``.

    Attributes
    ----------
    head_weights_ : array of float64 (K, C)
        Sums to one over heads for each class: the weights of the vote, or the relative lengths of the directions.
    reliability_ : array of float64 (K, C)
        Before shrinkage.
    prototypes_ : array (C, used heads, D)
    directions_ : array (C, used heads, D) or None
        Of the joint fit, in the whitened heads; None of the vote.
    strength_, temperature_ : float
        Chosen for the joint fit, and for probabilities.
    held_out_log_loss_, held_out_accuracy_ : float
        Of support clips, held out in folds and predicted by classifiers fitted without them. NaN where every class
        has one clip, or nothing was to be chosen.
    typical_scores_ : array
        Best scores of the same clips, sorted.
    classes_, class_count_, used_heads_, head_names_
        See :class:`calm.classifiers.base.HeadClassifier`.

    Examples
    --------
    Three heads of which only the last hears the difference:

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> clf = CALMClassifier().fit(X, y)
    >>> clf.predict(X[:1])
    array(['dog'], dtype='<U4')
    >>> clf.head_weights_.argmax(axis=0)
    array([2, 2])
    """

    used_heads_: Annotated[NDArray[np.int64], LearnedArray("U", "heads", ascending=True)]
    head_weights_: Annotated[NDArray[np.float64], LearnedArray("KC")]
    directions_: Annotated[Array, LearnedArray("CUD", when="_is_joint")]
    typical_scores_: Annotated[NDArray[np.float64], LearnedArray("n", ascending=True)]
    strength_: Positive
    temperature_: Positive
    held_out_log_loss_: Loss
    held_out_accuracy_: Share

    def __init__(
        self,
        *,
        combine: Combination = "joint",
        whitening: float | Literal["oas"] | None = "oas",
        reliability: Scheme = "separation",
        temperature: float = 0.07,
        weight_temperature: float = 0.5,
        shrinkage: float = 0.0,
        top_heads: int | None = None,
        cross_fit: bool = True,
        strength: float | None = None,
        calibrate: bool = True,
        n_heads: int | None = None,
    ) -> None:
        self.combine = combine
        self.whitening = whitening
        self.reliability = reliability
        self.temperature = temperature
        self.weight_temperature = weight_temperature
        self.shrinkage = shrinkage
        self.top_heads = top_heads
        self.cross_fit = cross_fit
        self.strength = strength
        self.calibrate = calibrate
        self.n_heads = n_heads

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """Make the classifier of the paper and its code, exactly: the vote of heads as they are, scored on themselves.

        Parameters
        ----------
        **changes
            Parameters to set otherwise, such as ``reliability="brier"`` or ``top_heads=20``.

        Examples
        --------
        >>> CALMClassifier.published(temperature=0.03).get_params()["combine"]
        'vote'
        """
        settings: dict[str, Any] = {
            "combine": "vote",
            "whitening": None,
            "reliability": "margin",
            "temperature": 0.07,
            "weight_temperature": 1.0,
            "shrinkage": 0.0,
            "cross_fit": False,
            "calibrate": False,
        }
        return cls(**settings | changes)

    @property
    def _needs_scatter(self) -> bool:  # type: ignore[override]
        return self.whitening is not None

    @property
    def _needs_previous_prototypes(self) -> bool:  # type: ignore[override]
        return self._is_joint

    @property
    def _is_joint(self) -> bool:
        return self.combine == "joint"

    def predict(self, X: Any, reject: float | None = None) -> NDArray[Any]:
        """Predict the label of each clip, ``(n,)``; ``X`` as in :meth:`fit`.

        Parameters
        ----------
        X : array or HeadCache
        reject : float, default=None
            Give clips that seem to belong to no class the label None: those whose :meth:`typicality` is no larger.
            Of clips that do belong, about this share is given up too.

        Returns
        -------
        array (n,)
            Of objects, where ``reject`` is given. Numbers come as a tensor beside a torch ``X`` otherwise.

        Raises
        ------
        ValueError
            If ``reject`` is not between 0 and 1, or the support set was too small to tell what is typical.
        """
        scores = self._compute_scores(X)
        if reject is None:
            return self._choose_labels(scores)
        check_share("reject", reject)
        labels = self.classes_[to_numpy(scores).argmax(axis=1)].astype(object)
        labels[self._compute_typicality(scores) <= reject] = None
        return labels

    def typicality(self, X: Any) -> NDArray[np.float64]:
        """Compute how typical of the known classes each clip is, ``(n,)``, between 0 and 1.

        The share of support clips that scored no higher for their best class when they were held out, the clip itself
        counted among them: a conformal p-value (Vovk, Gammerman and Shafer, 2005), but for the support clips' having
        been scored by classifiers of fewer clips.

        Raises
        ------
        ValueError
            If no support clip was held out: every class has one clip, or there was nothing to choose by them.
        """
        return self._compute_typicality(self._compute_scores(X))

    def _compute_typicality(self, scores: Array) -> NDArray[np.float64]:
        if len(self.typical_scores_) == 0:
            raise ValueError(
                "what is typical is unknown: no support clip was held out (one clip a class, or calibrate=False)"
            )
        best = self._compute_logits(to_numpy(scores)).max(axis=1)
        below = np.searchsorted(self.typical_scores_, best, side="right")
        return (below + 1) / (len(self.typical_scores_) + 1)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("combine", self.combine, ("joint", "vote"))
        check_positive("weight_temperature", self.weight_temperature)
        check_not_negative("shrinkage", self.shrinkage)
        check_flag("calibrate", self.calibrate)
        if self.whitening is not None:
            check_whitening(self.whitening)
        if self.top_heads is not None:
            check_count("top_heads", self.top_heads)
        if self.strength is not None:
            check_positive("strength", self.strength)

    @property
    def reliability_(self) -> NDArray[np.float64]:
        """Reliability of each head for each class, ``(K, C)``, before shrinkage.

        Of a class that heads could not be judged by, that of the other classes: every head counts the same for it then,
        as far as it alone is concerned.
        """
        judged = self.judged_count_ > 0
        if judged.all():
            return self.class_reliability_
        known = self.class_reliability_[:, judged]
        others = known.mean(axis=1, keepdims=True) if known.size else 0.0
        return np.where(judged, self.class_reliability_, others)

    def _choose_hyperparameters(self, support: SupportSet) -> None:
        """Choose strength and temperature by held-out clips, and note how well those did and what is typical of them.

        Each fold's clips are scored by a classifier that was fitted from the beginning without them.
        """
        self.strength_ = PRIOR_STRENGTH if self.strength is None else float(self.strength)
        self.temperature_ = self._prior_temperature if self.calibrate else 1.0
        self.held_out_log_loss_ = self.held_out_accuracy_ = float("nan")
        self.typical_scores_ = np.empty(0)
        if not self.calibrate and (self.combine == "vote" or self.strength is not None):
            return
        some, folds = held_out_folds(support)
        if not folds:
            return
        tested = np.concatenate([test for _, test in folds])
        scores = np.concatenate([self._held_out_scores(some, *fold) for fold in folds], axis=1)
        weights = np.ones(len(tested)) if some.weights is None else some.weights[tested]
        found = HeldOutScores(scores, some.y[tested], weights)
        at, temperature = found.choose(self._prior_temperature)
        if self.combine == "joint" and self.strength is None:
            self.strength_ = float(STRENGTHS[at])
        if self.calibrate:
            self.temperature_ = temperature
        self.held_out_log_loss_, self.held_out_accuracy_ = found.log_loss(at, self.temperature_), found.accuracy(at)
        self.typical_scores_ = found.best(at)

    @property
    def _prior_temperature(self) -> float:
        return PRIOR_TEMPERATURE if self.combine == "joint" else 1.0

    def _held_out_scores(
        self, support: SupportSet, train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Score some clips by a fit on others: of every strength, if one is to be chosen, ``(1 or more, m, C)``."""
        part = clone(self).set_params(calibrate=False, strength=self.strength_)
        part.classes_, part.n_heads_in_, part.layers_ = self.classes_, support.heads.shape[1], None
        learnt = support.select_clips(train)
        part._init_statistics(learnt)
        part._init_head_results(learnt)
        part._choose_hyperparameters(learnt)
        if self.combine == "vote" or self.strength is not None:
            part._update(learnt)
            heads = support.select_clips(test).select_heads(part.used_heads_).heads
            score = part._make_scorer(heads.like)
            found = [to_numpy(score(heads.read(clips))) for clips in chunk_slices(len(test), _HELD_OUT_BLOCK)]
            return np.asarray(part._compute_logits(np.concatenate(found)), dtype=np.float64)[None]
        part._update_statistics(learnt)
        whole = part._choose_heads(support)
        examples = Examples.from_support(whole, whole.counts)
        kernel = compute_kernels(
            whole, examples, [np.arange(len(whole.y))], part._compute_metric, part._joint_head_weights
        )[0]
        rows, others = convert_like(kernel, train), convert_like(kernel, test)
        balanced = Examples.from_support(learnt, learnt.counts).balanced_weights
        return ridge_path(kernel[rows][:, rows], kernel[others][:, rows], learnt.y, support.n_classes, balanced)

    def _build_metric(self, stats: ClassStatistics, like: Array) -> Metric | None:
        return None if self.whitening is None else whitening(stats, self.whitening).astype(like.dtype)

    def _combine_heads(self, support: SupportSet, before: NDArray[np.floating], previous: Array | None) -> None:
        self._cached_metrics: dict[str, Metric] = {}
        if not self._is_joint:
            self.directions_ = None
            self._fit_vote(support)
            return
        rows = np.arange(len(self.used_heads_))
        used = self.used_heads_
        support = self._choose_heads(support)
        stands_in = None
        if previous is not None:
            there, kept = np.flatnonzero(before), rows[np.isin(used, self.used_heads_)]
            stands_in = PreviousPrototypes(previous[there][:, kept], there, before[there])
        self.directions_ = fit_jointly(
            support, self.class_count_, self._compute_metric, self._joint_head_weights, self.strength_, stands_in
        )
        self.head_weights_ = self._expand_to_all_heads(relative_head_norms(self.directions_))

    def _choose_heads(self, support: SupportSet) -> SupportSet:
        """Weigh heads for the joint fit, and keep the best of them if there are to be but few."""
        reliability = self._shrunk_reliability()
        # The mean over classes has less noise than each; what is particular to a class is left to the directions.
        mean = reliability.mean(axis=1, keepdims=True)
        weights = head_weights(mean, self.reliability, self.weight_temperature, self.top_heads)[:, 0]
        if self.top_heads is not None:
            kept = np.flatnonzero(weights)
            support, weights = self._keep_heads(support, kept), weights[kept]
        self._joint_head_weights = weights
        return support

    def _shrunk_reliability(self) -> NDArray[np.floating]:
        """Return the reliability of the used heads, shrunk."""
        return shrink_reliability(self.reliability_[self.used_heads_], self.class_count_, self.shrinkage)

    def _fit_vote(self, support: SupportSet) -> None:
        weights = head_weights(self._shrunk_reliability(), self.reliability, self.weight_temperature, self.top_heads)
        if self.top_heads is not None:
            kept = np.flatnonzero(weights.any(axis=1))
            self._keep_heads(support, kept)
            weights = weights[kept]
        self.head_weights_ = self._expand_to_all_heads(weights)

    def _keep_heads(self, support: SupportSet, kept: NDArray[np.int64]) -> SupportSet:
        """Forget all heads but some of those used so far."""
        self.used_heads_ = self.used_heads_[kept]
        self.prototypes_ = self.prototypes_[:, kept] + 0.0
        if self.scatter_ is not None:
            self.scatter_ = self.scatter_[kept] + 0.0
        return support.select_heads(kept)

    def _expand_to_all_heads(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        whole = np.zeros((self.n_heads_in_, weights.shape[1]))
        whole[self.used_heads_] = weights
        return whole

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be worked out again."""
        return {
            name: value
            for name, value in super().__getstate__().items()
            if name not in ("_cached_metrics", "_joint_head_weights")
        }

    def _compute_metric(self, part: slice = slice(None)) -> Metric | None:
        """Return the metric of some of the used heads: a function of the class statistics, and so not kept."""
        scatter = None if self.scatter_ is None else self.scatter_[part]
        stats = ClassStatistics(self.class_count_.astype(float), self.prototypes_[:, part], scatter)
        return self._build_metric(stats, self.prototypes_)

    def _get_metric(self) -> Metric | None:
        """Return the metric of all used heads, kept between predictions."""
        if self.whitening is None:
            return None
        derived: dict[str, Metric] = self.__dict__.setdefault("_cached_metrics", {})
        if "metric" not in derived:
            xp, heads = namespace(self.prototypes_), len(self.used_heads_)
            in_turn = None if is_numpy(self.prototypes_) else 1
            few = max(1, min(_HEADS_AT_ONCE, -(-heads // available_cores())))
            parts = parallel_map(self._compute_metric, chunk_slices(heads, few), threads=in_turn)
            derived["metric"] = Metric(*(xp.concat(some) for some in zip(*(m.parts for m in parts if m), strict=True)))
        return derived["metric"]

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        metric = self._get_metric()
        there = None if metric is None else Metric(*(cast_like(like, part) for part in metric.parts))
        if self.combine == "joint":
            return LinearVoter(cast_like(like, self.directions_), there)
        weights = cast_like(like, self.head_weights_[self.used_heads_])
        return SoftVoter.of(cast_like(like, self.prototypes_), weights, self.temperature, there)

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        voter = self._make_scorer(like)
        assert isinstance(voter, LinearVoter | SoftVoter)
        return voter.of_heads

    def _compute_probabilities(self, scores: Array) -> Array:
        return softmax(self._compute_logits(scores) / self.temperature_, axis=1)

    def _compute_logits(self, scores: Array) -> Array:
        return namespace(scores).log(scores + 1e-12) if self.combine == "vote" else scores
