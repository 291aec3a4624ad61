"""CALM: class-conditional attention-head weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import cast_like
from calm.classifiers.held_out import FOLDS, Fold, HeldOutScores, clip_folds, count_equal_clip_folds, held_out_folds
from calm.classifiers.joint_fit import Examples, PreviousPrototypes, compute_kernels, fit_jointly, relative_head_norms
from calm.classifiers.reliability import ReliabilityClassifier, sum_by_class
from calm.classifiers.schema import LearnedArray, Loss, Positive, Share
from calm.classifiers.support_set import SupportSet
from calm.classifiers.typicality import RejectingClassifier
from calm.fit import (
    ClassStatistics,
    LinearVoter,
    Metric,
    SoftVoter,
    clip_reliability,
    cosine_similarity,
    head_weights,
    shrink_reliability,
    whitening,
)
from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy
from calm.fit.checks import check_choice, check_count, check_flag, check_not_negative, check_positive
from calm.fit.metric import check_whitening
from calm.fit.parallel import chunk_slices, parallel_map
from calm.fit.reliability import Scheme
from calm.fit.ridge import PRIOR_STRENGTH, PRIOR_TEMPERATURE, STRENGTHS, ridge_path
from calm.machine import available_cores

#: Number of held-out clips that are scored together.
_HELD_OUT_BLOCK = 64
#: Number of heads whose metric is computed together.
_METRIC_HEADS = 16

#: Temperature τ of the published method.
PUBLISHED_TEMPERATURE = 0.07

Combination = Literal["joint", "vote"]


class CALMClassifier(RejectingClassifier, ReliabilityClassifier):
    """Few-shot classifier that learns how reliable each attention head is for each class (CALM, arXiv 2602.07077).

    ``fit`` has three steps. :meth:`published` sets each step to the published method.

    1. *Whitening.* Each head is whitened by its pooled within-class covariance. Clips are compared with class
       prototypes by cosine similarity.
    2. *Reliability.* Each head is scored on the support clips. Each clip is scored against prototypes and a whitening
       from which it is left out. The reliability is multiplied by the movement of the head: in large models, many heads
       hardly move with the input, and whitening enlarges their noise.
    3. *Combination.* With ``combine="joint"``, one ridge regression is fitted over all whitened heads, which are
       weighted by their reliability. With ``combine="vote"``, the heads cast the published weighted vote of
       ``softmax(cos / τ)``.

    Parameters
    ----------
    combine : {"joint", "vote"}, default="joint"
        How heads are combined: by one ridge regression over all heads, or by the published weighted vote.
    whitening : "oas", float or None, default="oas"
        Shrinkage of the within-class covariance toward a scaled identity, between 0 and 1. "oas" estimates it for each
        head (:func:`calm.fit.oas_shrinkage`). None turns whitening off.
    reliability : {"separation", "margin", "raw_margin", "probability", "brier"}, default="separation"
        How a head is scored on a support clip; see :func:`calm.fit.clip_reliability` for the formulas.
    temperature : float, default=0.07
        Temperature τ of each head's softmax over classes. It is used by the vote and by every reliability except
        "separation".
    weight_temperature : float, default=0.5
        Temperature τ_w of the weights over heads. A large value makes the weights uniform.
    shrinkage : float, default=0.0
        Shrinkage α of the reliabilities toward their overall mean, in clips; see :func:`calm.fit.shrink_reliability`.
    top_heads : int, default=None
        Number of heads to keep: of the whole model with ``combine="joint"``, or for each class with
        ``combine="vote"``. None keeps all heads. Few heads make a small file, and a forward pass can end at the last
        of the ``used_layers_``.
    cross_fit : bool, default=True
        Whether each support clip is left out of the prototypes and the whitening when heads are scored on it. The
        published code does not leave it out.
    strength : float, default=None
        Strength λ of the ridge penalty. Kernel entries lie between -1 and 1. None chooses it on held-out support clips.
        Only used with ``combine="joint"``.
    movement : float, default=2.0
        How slowly the influence of a head's movement (see ``movement_``) on its weight falls with the number of clips
        per class n. The reliability is multiplied by movement^(a/(a + n − 1)), where a is this number. With one clip
        per class the exponent is 1; with many clips, reliability alone weights the heads. None leaves movement out.
    calibrate : bool, default=True
        Whether the temperature of :meth:`predict_proba` is chosen on held-out support clips. False sets it to 1.
    n_heads : int, default=None
        Number of heads in an ``X`` of shape (n_clips, n_heads * head_dim). None treats such an ``X`` as one head, with
        a warning.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels, sorted.
    head_weights_ : array of float64 of shape (n_heads, n_classes)
        Weight of each head for each class. The weights of a class sum to one over heads. With ``combine="joint"``,
        they are the norms of ``directions_``, divided by their sum over heads.
    reliability_ : array of float64 of shape (n_heads, n_classes)
        Reliability of each head for each class, before shrinkage.
    movement_ : array of float64 of shape (n_heads,)
        How much the vectors of each head move with the class of a clip: the published margin, with clips scored without
        whitening against prototypes that include them, as the mean over classes. Between 0 and 1.
    prototypes_ : array of shape (n_classes, n_used_heads, head_dim)
        Mean head vector of each class.
    directions_ : array of shape (n_classes, n_used_heads, head_dim) or None
        Coefficients of the ridge regression in the whitened heads. None with ``combine="vote"``.
    strength_ : float
        Strength λ of the ridge penalty that was used.
    temperature_ : float
        Temperature of the probabilities that was used.
    held_out_log_loss_, held_out_accuracy_ : float
        Log loss and accuracy on held-out support clips (cross-validation). NaN if no clip was held out, because every
        class has a single clip or there was no hyperparameter to choose.
    typical_scores_ : array of shape (n_held_out,)
        Largest score of each held-out support clip, sorted, with the correction for few groups; see
        :meth:`typicality`.
    class_count_, used_heads_, used_layers_, head_names_, extraction_
        See :class:`calm.classifiers.base.HeadClassifier`.

    See Also
    --------
    calm.tune : Choose parameters on held-out support clips.
    calm.SAVClassifier : Majority vote of the best heads (SAV).
    calm.LinearProbeClassifier : Logistic regression on all heads.
    calm.HeadExtractor : Extract head vectors from audio files in a scikit-learn pipeline.

    Notes
    -----
    The defaults had the best held-out accuracy on several kinds of head vectors; see ``benchmarks/README.md``.

    ``strength`` and the temperature of the probabilities minimize the log loss of support clips that are held out in
    five folds (fewer folds for many clips). If there are few clips, priors keep them close to
    λ = 0.5 and a temperature of 0.15 (of 1 with ``combine="vote"``).

    With one clip per class, no clip can be left out. Heads are then centred but not whitened, and weighted by their
    movement only.

    After :meth:`partial_fit`, counts, prototypes, scatter and whitening equal those of a fit on all clips.
    ``strength_`` and ``temperature_`` do not change. Each clip contributes to the reliabilities as it was
    scored when it was added.
    With ``combine="joint"``, directions are fitted on the new clips and on the previous class means in place of the
    previous clips, which costs some accuracy.

    References
    ----------
    .. [1] CALM, arXiv 2602.07077.
    .. [2] Y. Chen, A. Wiesel, Y. C. Eldar and A. O. Hero. Shrinkage algorithms for MMSE covariance estimation. 2010.

    Examples
    --------
    Only the last of three heads separates the classes:

    >>> import numpy as np
    >>> from calm import CALMClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))  # 10 clips, 3 heads, 8 dimensions
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
    class_movement_: Annotated[NDArray[np.float64] | None, LearnedArray("KC", when="_has_movement")]
    directions_: Annotated[Array, LearnedArray("CUD", when="_is_joint")]
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
        temperature: float = PUBLISHED_TEMPERATURE,
        weight_temperature: float = 0.5,
        shrinkage: float = 0.0,
        top_heads: int | None = None,
        cross_fit: bool = True,
        strength: float | None = None,
        movement: float | None = 2.0,
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
        self.movement = movement
        self.calibrate = calibrate
        self.n_heads = n_heads

    #: Values of parameters that earlier versions did not have, for files that they wrote.
    earlier_parameters: ClassVar[dict[str, Any]] = {"movement": None}

    @classmethod
    def published(cls, **parameters: Any) -> Self:
        """Make a classifier with the settings of the published method and code.

        Heads vote without whitening, and each support clip is scored against prototypes that include it.

        Parameters
        ----------
        **parameters
            Parameters that replace the published ones, such as ``reliability="brier"`` or ``top_heads=20``.

        Returns
        -------
        CALMClassifier
            A classifier that is not fitted.

        See Also
        --------
        calm.make_method : Make a classifier by its short name; "calm-published" is this one.

        References
        ----------
        .. [1] CALM, arXiv 2602.07077.

        Examples
        --------
        >>> from calm import CALMClassifier
        >>> clf = CALMClassifier.published(temperature=0.03)
        >>> clf.combine, clf.whitening, clf.temperature
        ('vote', None, 0.03)
        """
        settings: dict[str, Any] = {
            "combine": "vote",
            "whitening": None,
            "reliability": "margin",
            "temperature": PUBLISHED_TEMPERATURE,
            "weight_temperature": 1.0,
            "shrinkage": 0.0,
            "cross_fit": False,
            "movement": None,
            "calibrate": False,
        }
        return cls(**settings | parameters)

    @property
    def _needs_scatter(self) -> bool:  # type: ignore[override]
        return self.whitening is not None

    @property
    def _needs_previous_prototypes(self) -> bool:  # type: ignore[override]
        return self._is_joint

    @property
    def _is_joint(self) -> bool:
        return self.combine == "joint"

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("combine", self.combine, ("joint", "vote"))
        check_positive("weight_temperature", self.weight_temperature)
        check_not_negative("shrinkage", self.shrinkage)
        if self.movement is not None:
            check_positive("movement", self.movement)
        check_flag("calibrate", self.calibrate)
        if self.whitening is not None:
            check_whitening(self.whitening)
        if self.top_heads is not None:
            check_count("top_heads", self.top_heads)
        if self.strength is not None:
            check_positive("strength", self.strength)

    @property
    def reliability_(self) -> NDArray[np.float64]:
        """Reliability of each head for each class, of shape (n_heads, n_classes), before shrinkage.

        A class without a scored clip, such as a class with a single clip, has each head's mean over the other classes.
        """
        check_is_fitted(self)
        scored = self.judged_count_ > 0
        if scored.all():
            return self.class_reliability_
        scored_reliability = self.class_reliability_[:, scored]
        mean = scored_reliability.mean(axis=1, keepdims=True) if scored_reliability.size else 0.0
        return np.where(scored, self.class_reliability_, mean)

    @property
    def _has_movement(self) -> bool:
        return self.movement is not None

    @property
    def movement_(self) -> NDArray[np.float64] | None:
        """Movement of each head, of shape (n_heads,); None if the parameter ``movement`` is None."""
        check_is_fitted(self)
        return None if self.class_movement_ is None else self.class_movement_.mean(axis=1)

    def _init_head_results(self, support: SupportSet) -> None:
        super()._init_head_results(support)
        self.class_movement_ = np.zeros((support.heads.shape[1], support.n_classes)) if self._has_movement else None

    def _reindex_classes(self, new_index: NDArray[np.int64]) -> None:
        super()._reindex_classes(new_index)
        if self.class_movement_ is not None:
            movement = np.zeros((len(self.class_movement_), len(self.classes_)))
            movement[:, new_index] = self.class_movement_
            self.class_movement_ = movement

    def _learn_heads(
        self, heads: slice, X: Array, stats: ClassStatistics, support: SupportSet, previous_counts: NDArray[np.floating]
    ) -> None:
        """Update reliability and movement of some heads by the new clips."""
        super()._learn_heads(heads, X, stats, support, previous_counts)
        if self.class_movement_ is None:
            return

        def compute_margins(clips: slice) -> Array:
            similarity = cosine_similarity(X[clips], stats.means)
            return clip_reliability(similarity, support.y[clips], "margin", PUBLISHED_TEMPERATURE)

        weights = np.ones(len(support.y)) if support.weights is None else support.weights
        total = sum_by_class(support, X, compute_margins, weights)
        rows, counts = self.used_heads_[heads], previous_counts + support.counts
        previous_total = self.class_movement_[rows] * previous_counts
        self.class_movement_[rows] = (previous_total + total) / np.where(counts > 0, counts, 1.0)

    def _choose_hyperparameters(self, support: SupportSet) -> None:
        """Choose strength and temperature on held-out clips, and keep the held-out results.

        The clips of each fold are scored by a classifier that is fitted from scratch on the other folds.
        """
        self.strength_ = PRIOR_STRENGTH if self.strength is None else float(self.strength)
        self.temperature_ = self._prior_temperature if self.calibrate else 1.0
        self.held_out_log_loss_ = self.held_out_accuracy_ = float("nan")
        self.typical_scores_ = np.empty(0)
        if not self.calibrate and (self.combine == "vote" or self.strength is not None):
            return
        sampled, folds = held_out_folds(support)
        if not folds:
            return
        tested = np.concatenate([test for _, test in folds])
        scores = self._score_folds(sampled, folds)
        weights = np.ones(len(tested)) if sampled.weights is None else sampled.weights[tested]
        held_out = HeldOutScores(scores, sampled.y[tested], weights)
        candidate, temperature = held_out.choose(self._prior_temperature)
        if self.combine == "joint" and self.strength is None:
            self.strength_ = float(STRENGTHS[candidate])
        if self.calibrate:
            self.temperature_ = temperature
        self.held_out_log_loss_ = held_out.log_loss(candidate, self.temperature_)
        self.held_out_accuracy_ = held_out.accuracy(candidate)
        self.typical_scores_ = held_out.best_scores(candidate) + self._score_lost_to_small_folds(
            sampled, folds, candidate
        )

    def _score_folds(self, support: SupportSet, folds: list[Fold]) -> NDArray[np.float64]:
        """Score the held-out clips of all folds, ``(candidates, n held out, C)``."""
        return np.concatenate([self._score_held_out(support, *fold) for fold in folds], axis=1)

    def _score_lost_to_small_folds(self, support: SupportSet, folds: list[Fold], candidate: int) -> float:
        """Estimate by how much the best scores are too low if few groups leave few clips to train on.

        With two groups, for example, held-out clips are scored by a fit on half of the clips, and queries by a fit on
        all of them. The difference is measured without regard to groups: between two folds of clips and ``FOLDS``.
        """
        n_folds = count_equal_clip_folds(support, folds)
        if n_folds is None:
            return 0.0
        few, many = (
            self._score_folds(support, clip_folds(support, n))[candidate].max(axis=1).mean() for n in (n_folds, FOLDS)
        )
        return max(0.0, float(many - few))

    @property
    def _prior_temperature(self) -> float:
        return PRIOR_TEMPERATURE if self.combine == "joint" else 1.0

    def _score_held_out(
        self, support: SupportSet, train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Fit on some clips and score others, ``(candidates, m, C)``; the candidates are strengths, or a single one."""
        fold_classifier = clone(self).set_params(calibrate=False, strength=self.strength_)
        fold_classifier.classes_, fold_classifier.layers_ = self.classes_, None
        fold_classifier.n_heads_in_ = support.heads.shape[1]
        train_set = support.select_clips(train)
        fold_classifier._init_statistics(train_set)
        fold_classifier._init_head_results(train_set)
        fold_classifier._choose_hyperparameters(train_set)
        if self.combine == "vote" or self.strength is not None:
            fold_classifier._update(train_set)
            heads = support.select_clips(test).select_heads(fold_classifier.used_heads_).heads
            scorer = fold_classifier._make_scorer(heads.like)
            scores = [to_numpy(scorer(heads.read(clips))) for clips in chunk_slices(len(test), _HELD_OUT_BLOCK)]
            return np.asarray(fold_classifier._compute_logits(np.concatenate(scores)), dtype=np.float64)[None]
        fold_classifier._update_statistics(train_set)
        return fold_classifier._score_ridge_path(support, train, test)

    def _score_ridge_path(
        self, support: SupportSet, train: NDArray[np.int64], test: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Score test clips by a joint fit on the training clips for every candidate strength, ``(strengths, m, C)``."""
        selected = self._choose_heads(support)
        examples = Examples.from_support(selected, selected.counts)
        all_rows = [np.arange(len(selected.y))]
        kernel = compute_kernels(selected, examples, all_rows, self._compute_metric, self._joint_head_weights)[0]
        train_rows, test_rows = convert_like(kernel, train), convert_like(kernel, test)
        train_set = support.select_clips(train)
        balanced_weights = Examples.from_support(train_set, train_set.counts).balanced_weights
        return ridge_path(
            kernel[train_rows][:, train_rows],
            kernel[test_rows][:, train_rows],
            train_set.y,
            support.n_classes,
            balanced_weights,
        )

    def _build_metric(self, stats: ClassStatistics, like: Array) -> Metric | None:
        return None if self.whitening is None else whitening(stats, self.whitening).astype(like.dtype)

    def _combine_heads(
        self, support: SupportSet, previous_counts: NDArray[np.floating], previous_prototypes: Array | None
    ) -> None:
        """Fit the weights of the vote, or the directions of the joint fit."""
        self._cached_metrics: dict[str, Metric] = {}
        if not self._is_joint:
            self.directions_ = None
            self._fit_vote(support)
            return
        all_used_heads = self.used_heads_
        support = self._choose_heads(support)
        previous_examples = None
        if previous_prototypes is not None:
            seen_classes = np.flatnonzero(previous_counts)
            kept = np.flatnonzero(np.isin(all_used_heads, self.used_heads_))
            prototypes = previous_prototypes[seen_classes][:, kept]
            previous_examples = PreviousPrototypes(prototypes, seen_classes, previous_counts[seen_classes])
        self.directions_ = fit_jointly(
            support,
            self.class_count_,
            self._compute_metric,
            self._joint_head_weights,
            self.strength_,
            previous_examples,
        )
        self.head_weights_ = self._expand_to_all_heads(relative_head_norms(self.directions_))

    def _choose_heads(self, support: SupportSet) -> SupportSet:
        """Compute the head weights of the joint fit, and keep only the ``top_heads`` best heads."""
        reliability = self._shrunk_reliability()
        # The mean over classes is less noisy than single classes. The directions are class-specific anyway.
        mean = reliability.mean(axis=1, keepdims=True)
        weights = head_weights(mean, self.reliability, self.weight_temperature, self.top_heads)[:, 0]
        if self.top_heads is not None:
            kept = np.flatnonzero(weights)
            support, weights = self._keep_heads(support, kept), weights[kept]
        self._joint_head_weights = weights
        return support

    def _shrunk_reliability(self) -> NDArray[np.floating]:
        """Return the reliability of the used heads after shrinkage, times their movement, ``(used heads, C)``."""
        reliability = shrink_reliability(self.reliability_[self.used_heads_], self.class_count_, self.shrinkage)
        if self.movement is None or self.movement_ is None:
            return reliability
        # Without evidence of reliability, for example with one clip per class, movement alone weights the heads.
        is_known = (reliability > 0).any(axis=0)
        more_clips = max(0.0, float(self.class_count_.mean()) - 1)
        exponent = self.movement / (self.movement + more_clips)  # 1 with one clip per class
        return np.where(is_known, reliability, 1.0) * self.movement_[self.used_heads_, None] ** exponent

    def _fit_vote(self, support: SupportSet) -> None:
        """Compute the weights of the vote, and keep only the heads that have a weight."""
        weights = head_weights(self._shrunk_reliability(), self.reliability, self.weight_temperature, self.top_heads)
        if self.top_heads is not None:
            kept = np.flatnonzero(weights.any(axis=1))
            self._keep_heads(support, kept)
            weights = weights[kept]
        self.head_weights_ = self._expand_to_all_heads(weights)

    def _keep_heads(self, support: SupportSet, kept: NDArray[np.int64]) -> SupportSet:
        """Drop all used heads except ``kept``, and return the support set with these heads."""
        self.used_heads_ = self.used_heads_[kept]
        self.prototypes_ = self.prototypes_[:, kept] + 0.0
        if self.scatter_ is not None:
            self.scatter_ = self.scatter_[kept] + 0.0
        return support.select_heads(kept)

    def _expand_to_all_heads(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return weights of all heads, ``(K, C)``; heads that are not used have weight zero."""
        all_weights = np.zeros((self.n_heads_in_, weights.shape[1]))
        all_weights[self.used_heads_] = weights
        return all_weights

    def __getstate__(self) -> dict[str, Any]:
        """Leave out attributes that are computed from others."""
        computed = ("_cached_metrics", "_joint_head_weights")
        return {name: value for name, value in super().__getstate__().items() if name not in computed}

    def _compute_metric(self, heads: slice = slice(None)) -> Metric | None:
        """Compute the metric of some of the used heads from the class statistics."""
        scatter = None if self.scatter_ is None else self.scatter_[heads]
        stats = ClassStatistics(self.class_count_.astype(float), self.prototypes_[:, heads], scatter)
        return self._build_metric(stats, self.prototypes_)

    def _get_metric(self) -> Metric | None:
        """Return the metric of all used heads; it is cached between predictions."""
        if self.whitening is None:
            return None
        cached: dict[str, Metric] = self.__dict__.setdefault("_cached_metrics", {})
        if "metric" not in cached:
            xp, n_heads = namespace(self.prototypes_), len(self.used_heads_)
            threads = None if is_numpy(self.prototypes_) else 1
            chunk = max(1, min(_METRIC_HEADS, -(-n_heads // available_cores())))
            metrics = parallel_map(self._compute_metric, chunk_slices(n_heads, chunk), threads=threads)
            arrays = zip(*(metric.parts for metric in metrics if metric), strict=True)
            cached["metric"] = Metric(*(xp.concat(chunks) for chunks in arrays))
        return cached["metric"]

    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        """Return a function from head vectors to the scores of the joint fit or of the vote."""
        metric = self._get_metric()
        if metric is not None:
            metric = Metric(*(cast_like(like, array) for array in metric.parts))
        if self.combine == "joint":
            return LinearVoter(cast_like(like, self.directions_), metric)
        weights = cast_like(like, self.head_weights_[self.used_heads_])
        return SoftVoter.from_prototypes(cast_like(like, self.prototypes_), weights, self.temperature, metric)

    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        voter = self._make_scorer(like)
        assert isinstance(voter, LinearVoter | SoftVoter)
        return voter.score_heads

    def _compute_final_logits(self, scores: Array) -> Array:
        return self._compute_logits(scores) / self.temperature_

    def _compute_logits(self, scores: Array) -> Array:
        """Return logits before temperature scaling: the scores of the vote are probabilities already."""
        return namespace(scores).log(scores + 1e-12) if self.combine == "vote" else scores
