"""Base class of all classifiers: input validation, labels, prediction in blocks, saving and loading."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from calm.classifiers.explanation import Explanation
from calm.classifiers.failed_clips import (
    find_failed_clips,
    leave_out_failed_clips,
    refuse_failed_clips,
    replace_failed_clips,
    warn_of_failed_clips,
)
from calm.classifiers.file import (
    Header,
    extraction_from_json,
    extraction_to_json,
    labels_from_json,
    labels_to_json,
    write_classifier_file,
)
from calm.classifiers.inputs import (
    ArrayHeads,
    HeadSubset,
    HeadVectors,
    StoredHeads,
    check_tensor,
    convert_lists,
    find_cache_rows,
    find_extraction,
    is_non_numpy_array,
    join_layers,
    query_blocks,
    split_heads,
)
from calm.classifiers.rejection import choose_reject_label, is_numeric, put_reject_label
from calm.classifiers.schema import (
    Count,
    LearnedArray,
    check_arrays,
    learned_arrays,
    values_from_json,
    values_to_json,
)
from calm.classifiers.support_set import SupportSet
from calm.extract import Extraction, check_compatible
from calm.fit import log_softmax, softmax
from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy
from calm.fit.checks import check_count
from calm.fit.parallel import parallel_map
from calm.fit.vote import zeros
from calm.machine import available_cores

#: Floating-point dtypes that are kept. All other dtypes, such as float16 and integers, are converted to float32.
_DTYPES = (np.float32, np.float64)


class HeadClassifier(ClassifierMixin, BaseEstimator):
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

    n_heads: int | None

    n_features_in_: Count
    n_heads_in_: Count
    dim_: Count
    layers_: Count | None
    support_names_: list[str] | None
    support_groups_: list[str] | None
    support_digests_: list[str | None] | None = None  # files of earlier versions have none
    used_heads_: Annotated[NDArray[np.int64], LearnedArray("K", "heads", ascending=True)]
    class_count_: Annotated[NDArray[Any], LearnedArray("C", "counts")]

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

    @property
    def head_names_(self) -> NDArray[np.str_]:
        """Name of each head, an array of str of shape (n_heads,)."""
        check_is_fitted(self)
        total, layers = self.n_heads_in_, self.layers_
        if layers is None:
            return np.array([f"head {head}" for head in range(total)])
        per_layer, extraction = total // layers, self.extraction_
        layer_numbers = [
            layer if extraction is None else extraction.fingerprint.layer_number(layer) for layer in range(layers)
        ]
        return np.array([f"layer {layer_numbers[h // per_layer]} · head {h % per_layer}" for h in range(total)])

    @property
    def used_layers_(self) -> NDArray[np.int64] | None:
        """Indices of the layers that predictions need, ascending; None if the layers are not known."""
        check_is_fitted(self)
        return None if self.layers_ is None else np.unique(self.used_heads_ // (self.n_heads_in_ // self.layers_))

    def _check_parameters(self) -> None:
        """Raise ValueError if a parameter is out of range."""
        if self.n_heads is not None:
            check_count("n_heads", self.n_heads)

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

    def _validate_support(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, groups: ArrayLike | None, reset: bool
    ) -> tuple[HeadVectors, NDArray[Any], NDArray[np.float64] | None, NDArray[np.int64] | None]:
        """Validate a support set, record its origin, and drop clips of zero weight.

        Return head vectors, labels, sample weights and group numbers. ``reset`` is False if the classifier is already
        fitted and more clips are added.
        """
        if reset:
            self.__dict__.pop("feature_names_in_", None)  # left by an earlier fit on a data frame
        X, y, sample_weight, groups = leave_out_failed_clips(convert_lists(X), y, sample_weight, groups)
        heads, labels = self._validate_clips(X, to_numpy(y) if is_non_numpy_array(y) else y, reset)
        check_classification_targets(labels)
        rows = find_cache_rows(X)
        if reset:
            self.layers_ = rows.cache.shape[1] if rows is not None else X.shape[1] if _has_layers(X) else None
            self.n_heads_in_ = heads.shape[1]
            self.extraction_: Extraction | None = find_extraction(X)
            self.support_names_ = None if rows is None else rows.names.tolist()
            self.support_groups_ = None if rows is None else sorted({*rows.groups.tolist()} - {""})
            self.support_digests_ = None if rows is None else rows.digests
        if groups is None and rows is not None:
            groups = rows.groups
        if groups is not None:
            check_consistent_length(labels, groups)
        if sample_weight is None:
            return heads, labels, None, _number_groups(groups)
        weights = _check_sample_weight(sample_weight, labels, dtype=np.float64, ensure_non_negative=True)
        kept = np.flatnonzero(weights > 0)
        kept_groups = None if groups is None else np.asarray(groups, dtype=object)[kept]
        return heads[kept], labels[kept], weights[kept], _number_groups(kept_groups)

    def _validate_clips(self, X: Any, y: Any, reset: bool) -> tuple[HeadVectors, NDArray[Any]]:
        """Validate head vectors and labels for every supported type of ``X``."""
        rows = find_cache_rows(X)
        if rows is not None:
            labels = column_or_1d(y)
            check_consistent_length(rows, labels)
            if labels.dtype.kind in "UO" and (labels == "").any():
                raise ValueError("X contains clips without a label: select labelled clips only")
            if reset:
                self.n_features_in_ = StoredHeads(rows).shape[1]
            return StoredHeads(rows), labels
        X = join_layers(X)
        if not is_non_numpy_array(X):
            X, labels = validate_data(self, X, y, dtype=_DTYPES, allow_nd=True, reset=reset)
            self._warn_of_flat_clips(X)
            return ArrayHeads(split_heads(X, self.n_heads)), labels
        self._warn_of_flat_clips(X)
        heads, labels = ArrayHeads(split_heads(check_tensor(X), self.n_heads)), column_or_1d(y)
        if len(labels) != heads.shape[0]:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[heads.shape[0], len(labels)]}"
            )
        if reset:
            self.n_features_in_ = X.shape[1]
        return heads, labels

    def _warn_of_flat_clips(self, X: Array) -> None:
        """Warn if the heads of each clip are joined to one vector and it is not known how many they are."""
        if X.ndim == 2 and self.n_heads is None:
            warnings.warn(
                f"X has shape {tuple(X.shape)}, so each clip is one head of dimension {X.shape[1]}: pass X of shape "
                "(clips, heads, dim), set n_heads to split each clip into heads, or set n_heads=1 to keep one head",
                UserWarning,
                stacklevel=2,
            )

    def _validate_queries(self, X: Any) -> HeadVectors:
        """Validate queries and select the used heads."""
        self._check_extraction(X)
        self._check_several_clips(X)
        rows = find_cache_rows(X)
        heads: HeadVectors
        if rows is not None:
            heads = StoredHeads(rows)
        elif is_non_numpy_array(X):
            heads = ArrayHeads(split_heads(check_tensor(join_layers(X)), self.n_heads))
        else:
            X = validate_data(self, join_layers(X), dtype=_DTYPES, allow_nd=True, reset=False)
            heads = ArrayHeads(split_heads(X, self.n_heads))
        self._check_head_shape(heads)
        return heads if len(self.used_heads_) == heads.shape[1] else HeadSubset(heads, self.used_heads_)

    def _check_extraction(self, X: Any) -> None:
        """Raise ValueError if ``X`` is known to come from another extraction than the support set."""
        extraction, rows = find_extraction(X), find_cache_rows(X)
        if self.extraction_ is not None and extraction is not None:
            source = "X" if rows is None else str(rows.cache.path)
            check_compatible(self.extraction_, extraction, "this classifier", source)

    def _check_several_clips(self, X: Any) -> None:
        """Raise ValueError if ``X`` is a single clip without the axis of clips."""
        shape = tuple(getattr(X, "shape", ()))
        one_clip: list[tuple[int, ...]] = [(self.n_heads_in_, self.dim_)]
        if self.layers_ is not None:
            one_clip.append((self.layers_, self.n_heads_in_ // self.layers_, self.dim_))
        if shape in one_clip and shape[0] != 1:
            raise ValueError(f"X has shape {shape}, which is one clip: pass X[:1] instead of X[0]")

    def _check_head_shape(self, heads: HeadVectors) -> None:
        """Raise ValueError if the number or dimension of heads differs from the support set."""
        if heads.shape[1:] != (self.n_heads_in_, self.dim_):
            raise ValueError(
                f"X has {heads.shape[1]} heads of dimension {heads.shape[2]}, but this {type(self).__name__} was "
                f"fitted on {self.n_heads_in_} heads of dimension {self.dim_}"
            )

    def save(self, path: str | Path) -> None:
        """Save the fitted classifier to a safetensors file with JSON metadata.

        The file is written atomically: it replaces an existing classifier file only once it is complete.

        Parameters
        ----------
        path : str or Path
            File to write. An existing file is replaced only if it is a saved classifier.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the classifier is not fitted.
        TypeError
            If the labels are neither text, numbers nor booleans.
        ValueError
            If a learned attribute contains NaN or infinity, so that the file could not be loaded.
        FileExistsError
            If ``path`` exists and is not a saved classifier.
        OSError
            If the file cannot be written. An existing file is then left unchanged.

        See Also
        --------
        calm.load : Load a saved classifier.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> import calm
        >>> X = np.random.default_rng(0).normal(size=(4, 3, 8))
        >>> clf = calm.NearestMeanClassifier().fit(X, ["dog", "dog", "rain", "rain"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     clf.save(f"{folder}/clf.safetensors")
        ...     calm.load(f"{folder}/clf.safetensors")
        NearestMeanClassifier()
        """
        check_is_fitted(self)
        learned = {name: to_numpy(value) if is_non_numpy_array(value) else value for name, value in vars(self).items()}
        arrays = {name: learned[name] for name in learned_arrays(type(self)) if learned[name] is not None}
        try:
            check_arrays(self, arrays)
        except ValueError as error:
            raise ValueError(f"this {type(self).__name__} cannot be saved: {error}") from error
        names = learned.get("feature_names_in_")
        header = {
            "classifier": type(self).__name__,
            "parameters": self.get_params(),
            **labels_to_json(self.classes_),
            "feature_names": None if names is None else names.tolist(),
            "extraction": None if self.extraction_ is None else extraction_to_json(self.extraction_),
            "learned": values_to_json(type(self), learned),
        }
        write_classifier_file(Path(path), header, arrays)

    @classmethod
    def from_file(cls, header: Header, arrays: dict[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted classifier from the contents of a file.

        Raises
        ------
        ValueError
            If the contents are not a complete and consistent classifier of this class.
        """
        unknown = sorted(header.parameters.keys() - cls().get_params().keys())
        if unknown:
            raise ValueError(f"a {cls.__name__} has no parameter {unknown[0]}")
        classifier = cls(**header.parameters)
        classifier._check_parameters()
        classifier.classes_ = labels_from_json(header.classes, header.classes_dtype)
        for name, value in values_from_json(cls, header.learned).items():
            setattr(classifier, name, value)
        check_arrays(classifier, arrays)
        for name in learned_arrays(cls):
            setattr(classifier, name, arrays.get(name))
        if header.feature_names is not None:
            classifier.feature_names_in_ = np.asarray(header.feature_names, dtype=object)
        classifier.extraction_ = None if header.extraction is None else extraction_from_json(header.extraction)
        classifier._check_layers_and_features()
        return classifier

    def _check_layers_and_features(self) -> None:
        """Raise ValueError if the numbers of layers, heads and features in a file are inconsistent."""
        if self.n_heads_in_ % (self.layers_ or 1):
            raise ValueError(f"n_heads_in_ is {self.n_heads_in_}, expected a multiple of layers_ {self.layers_}")
        feature_names = getattr(self, "feature_names_in_", None)
        if feature_names is not None and len(feature_names) != self.n_features_in_:
            raise ValueError(f"feature_names has {len(feature_names)} names, expected {self.n_features_in_}")
        try:
            _ = self.head_names_
        except (ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"extraction does not number {self.layers_} layers: {error}") from error


def _find_failed(scores: Array) -> NDArray[np.bool_]:
    """Return for each clip whether it failed, so that its scores are NaN."""
    return np.asarray(to_numpy(namespace(scores).isnan(scores[:, 0])))


def _has_layers(X: Any) -> bool:
    return getattr(X, "ndim", None) == 4


def _number_groups(groups: ArrayLike | None) -> NDArray[np.int64] | None:
    """Map groups to integers; return None if no two clips share one. None or an empty string is a group of one clip."""
    listed = [] if groups is None else np.asarray(groups, dtype=object).tolist()
    keys = [(i,) if group is None or group == "" else group for i, group in enumerate(listed)]
    first = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return None if len(first) == len(keys) else np.array([first[key] for key in keys], dtype=np.int64)


def cast_like(like: Array, values: Any) -> Array:
    """Convert a learned array to the library, device and dtype of ``like``."""
    if is_non_numpy_array(values) and is_numpy(like):
        values = to_numpy(values)
    return convert_like(like, values, like.dtype)
