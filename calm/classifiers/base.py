"""Base class of all classifiers: fitting, prediction in blocks, labels and explanations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.explanation import Explanation
from calm.classifiers.failed_clips import (
    find_failed_clips,
    refuse_failed_clips,
    replace_failed_clips,
    warn_of_failed_clips,
)
from calm.classifiers.inputs import (
    convert_lists,
    is_non_numpy_array,
    query_blocks,
)
from calm.classifiers.rejection import choose_reject_label, is_numeric, put_reject_label
from calm.classifiers.saving import SavedClassifier
from calm.classifiers.support_set import SupportSet
from calm.fit import log_softmax, softmax
from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy
from calm.fit.parallel import parallel_map
from calm.fit.vote import zeros
from calm.machine import available_cores


class HeadClassifier(ClassifierMixin, SavedClassifier):
    """Base class of the few-shot classifiers of head vectors.

    A subclass implements three methods: ``_learn`` fits on a support set, ``_make_scorer`` scores queries, and
    ``_make_head_scorer`` computes the contribution of each head to those scores. A subclass also annotates its
    learned attributes (see ``calm/classifiers/schema.py``); saved files are validated against these annotations.

    Queries are scored in blocks, so that memory does not grow with their number. Torch tensors are computed on their
    own device, and all other inputs with numpy.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Class labels, sorted.
    class_count_ : array of shape (n_classes,)
        Number of support clips of each class, or the sum of their sample weights.
    used_heads_ : array of int of shape (n_used_heads,)
        Indices of the heads that predictions need, ascending.
    used_layers_ : array of int or None
        Indices of the layers that predictions need, ascending. None if the layers are not known.
    head_names_ : array of str of shape (n_heads,)
        Name of each head, such as "layer 17 · head 5", or "head 5" if the layers are not known. Layers and heads are
        counted from 0.
    n_features_in_ : int
        Number of features per clip.
    extraction_ : calm.extract.Extraction or None
        How the head vectors of the support set were extracted. None if ``X`` does not carry this information, as a
        plain array does not.
    support_names_, support_groups_ : list of str or None
        Names and groups of the support clips, if they came from a :class:`calm.HeadCache`.
    support_digests_ : list of (str or None), or None
        Digests of the support clips' contents as hexadecimal strings, if the clips came from a
        :class:`calm.HeadCache`. None stands for a clip whose digest is unknown.

    See Also
    --------
    calm.CALMClassifier : Class-conditional head weights; the default method.
    calm.make_method : Make a classifier by its short name.
    calm.load : Load a saved classifier.
    """

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, groups: ArrayLike | None = None
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
        sample_weight : array-like of shape (n_clips,), default=None
            Weight of each clip. A clip of weight 2 counts as two copies of it; a clip of weight 0 is ignored. None
            means a weight of 1 for every clip.
        groups : array-like of shape (n_clips,), default=None
            Group of each clip, such as its speaker or recording. Methods that hold clips out (cross-validation folds)
            hold whole groups out, so that hyperparameters and held-out accuracy are valid for new groups. None or an
            empty string in the array marks a clip that belongs to no group. By default, the groups of a
            :class:`calm.HeadCache` are used, and no groups otherwise.

        Returns
        -------
        self : HeadClassifier
            The fitted classifier.

        Warns
        -----
        UserWarning
            If there are too few groups to hold any out; clips are then held out individually. If ``X`` is
            two-dimensional and ``n_heads`` is None; each clip is then taken as one head. If the head vectors of a
            clip are all NaN, because it could not be read; such clips are left out.

        Raises
        ------
        ValueError
            If shapes are inconsistent, a clip contains infinity or some NaN, there are fewer than two classes, or a
            parameter is out of range.
        """
        heads, labels, weights, group_numbers = self._validate_support(X, y, sample_weight, groups, reset=True)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            present = f"has only one class, {self.classes_.tolist()[0]!r}" if len(self.classes_) else "is empty"
            raise ValueError(f"fit needs at least two classes, but the support set {present}")
        self._check_parameters()
        self._learn(SupportSet(heads, numbers, weights, len(self.classes_), group_numbers))
        return self

    def predict(self, X: Any, *, reject_label: Any = None) -> NDArray[Any]:
        """Predict the label of each clip.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the clips, in any form that :meth:`fit` accepts.
        reject_label : label, default=None
            Label of failed clips, whose head vectors are all NaN. None means "none of these" for text and -1 for
            numbers. Boolean classes have no default.

        Returns
        -------
        array of shape (n_clips,)
            Predicted labels. Numeric labels are returned as a tensor on the device of ``X`` if ``X`` is a tensor.

        Warns
        -----
        UserWarning
            If the head vectors of a clip are all NaN, because it could not be read.
        """
        return self._choose_labels(self._compute_scores(X), reject_label=reject_label)

    def predict_proba(self, X: Any) -> Array:
        """Predict class probabilities of each clip.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the clips, in any form that :meth:`fit` accepts.

        Returns
        -------
        array or torch.Tensor of shape (n_clips, n_classes)
            Probabilities in the order of ``classes_``. Each row sums to one. A tensor on the device of ``X`` if ``X``
            is a tensor. The row of a failed clip, whose head vectors are all NaN, is NaN.
        """
        return softmax(self._compute_final_logits(self._compute_scores(X)), axis=1)

    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithm of class probabilities of each clip, without underflow.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the clips, in any form that :meth:`fit` accepts.

        Returns
        -------
        array or torch.Tensor of shape (n_clips, n_classes)
            Natural logarithm of :meth:`predict_proba`, in the order of ``classes_``. Minus infinity stands for a
            probability of exactly 0, such as that of a class without a vote.
        """
        return log_softmax(self._compute_final_logits(self._compute_scores(X)), axis=1)

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Compute the accuracy on labelled clips.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the clips, in any form that :meth:`fit` accepts.
        y : array-like of shape (n_clips,)
            True labels.
        sample_weight : array-like of shape (n_clips,), default=None
            Weight of each clip. None means a weight of 1 for every clip.

        Returns
        -------
        float
            Fraction of clips whose label is predicted correctly, between 0 and 1. Failed clips, whose head vectors are
            all NaN, count as errors.
        """
        scores = self._compute_scores(X)
        failed = _find_failed(scores)
        warn_of_failed_clips(failed, "failed clips count as errors")
        y_true, predicted = to_numpy(y) if is_non_numpy_array(y) else y, self._most_probable(scores)
        if not failed.any():
            return float(accuracy_score(y_true, predicted, sample_weight=sample_weight))
        weights = np.where(failed, 0, 1.0 if sample_weight is None else np.asarray(sample_weight))
        if not weights.any():
            return 0.0
        accuracy = accuracy_score(y_true, predicted, sample_weight=weights)
        return float(accuracy * weights.sum() / (len(failed) if sample_weight is None else np.sum(sample_weight)))

    def explain(self, X: Any) -> Explanation:
        """Explain predictions by the contribution of each attention head.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of a few clips, in any form that :meth:`fit` accepts. The contribution of every head to every
            class is held in memory for all of them.

        Returns
        -------
        calm.Explanation
            Contributions, votes and importance of the used heads for each clip.

        See Also
        --------
        calm.Explanation.top_heads : List the most important heads of one clip.

        Examples
        --------
        >>> import numpy as np
        >>> from calm import NearestMeanClassifier
        >>> X = np.array([[[1.0, 0.1], [0.9, 0.0]], [[0.0, 1.0], [0.1, 1.0]]])  # 2 clips, 2 heads, 2 dimensions
        >>> explanation = NearestMeanClassifier().fit(X, ["dog", "rain"]).explain(X)
        >>> explanation.contributions.shape
        (2, 2, 2)
        """
        check_is_fitted(self)
        refuse_failed_clips(convert_lists(X), "explained")
        heads = self._validate_queries(X)
        vectors = heads.read()
        return Explanation.from_scores(
            contributions=to_numpy(self._make_head_scorer(vectors)(vectors)),
            scores=to_numpy(self._compute_scores(X)),
            classes=self.classes_,
            head_names=self.head_names_[self.used_heads_],
        )

    @abstractmethod
    def _learn(self, support: SupportSet) -> None:
        """Fit on a validated support set."""

    @abstractmethod
    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        """Return a function from head vectors ``(n, used heads, D)`` to scores ``(n, C)``.

        The function works on arrays of the library, device and dtype of ``like``. The class with the largest score is
        predicted.
        """

    @abstractmethod
    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        """Return a function from head vectors to the contribution of each head, ``(n, used heads, C)``."""

    def _compute_final_logits(self, scores: Array) -> Array:
        """Return logits whose softmax gives the probabilities.

        By default, nonnegative scores are normalized; methods with calibrated probabilities override this.
        """
        with np.errstate(divide="ignore"):  # a score of 0 is a probability of 0
            return namespace(scores).log(scores)

    def _most_probable(self, scores: Array) -> NDArray[Any]:
        """Return the class with the largest score of each clip."""
        return self.classes_[to_numpy(namespace(scores).argmax(scores, axis=1))]

    def _choose_labels(
        self, scores: Array, is_rejected: NDArray[np.bool_] | None = None, reject_label: Any = None
    ) -> NDArray[Any]:
        """Return the class with the largest score of each clip, or the reject label for rejected and failed clips.

        The dtype makes room for the reject label if there may be rejected clips, or if there are failed clips.
        """
        labels, failed = self._most_probable(scores), _find_failed(scores)
        if is_rejected is not None or failed.any() or reject_label is not None:
            reject_label = choose_reject_label(self.classes_, reject_label)
        if failed.any():
            warn_of_failed_clips(failed, f"failed clips get the label {reject_label!r}")
            is_rejected = failed if is_rejected is None else is_rejected | failed
        if is_rejected is not None:
            labels = put_reject_label(labels, is_rejected, reject_label)
        return convert_like(scores, labels) if is_numeric(labels) and not is_numpy(scores) else labels

    def _compute_scores(self, X: Any) -> Array:
        """Validate queries and score them block by block, ``(n, C)``; the scores of failed clips are NaN."""
        check_is_fitted(self)
        X = convert_lists(X)
        failed = find_failed_clips(X)
        if failed.any():
            self._check_extraction(X)
            scores = self._compute_scores(replace_failed_clips(X, failed))
            scores[convert_like(scores, failed)] = float("nan")
            return scores
        heads = self._validate_queries(X)
        like = heads.like
        scorer = self._make_scorer(like)
        if not is_numpy(like):
            no_scores = zeros(like, (0, len(self.classes_)))
            return namespace(like).concat([no_scores, *(scorer(heads.read(block)) for block in query_blocks(heads, 1))])
        scores = parallel_map(lambda block: scorer(heads.read(block)), query_blocks(heads, available_cores()))
        # In float64 the probabilities of many classes still sum to one.
        return np.concatenate(scores).astype(np.float64) if scores else np.empty((0, len(self.classes_)))


def _find_failed(scores: Array) -> NDArray[np.bool_]:
    """Return for each clip whether it failed, so that its scores are NaN."""
    return np.asarray(to_numpy(namespace(scores).isnan(scores[:, 0])))


def cast_like(like: Array, values: Any) -> Array:
    """Convert a learned array to the library, device and dtype of ``like``."""
    if is_non_numpy_array(values) and is_numpy(like):
        values = to_numpy(values)
    return convert_like(like, values, like.dtype)
