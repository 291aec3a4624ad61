"""What all classifiers of head vectors share: checking, labels, streaming, saving."""

from __future__ import annotations

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
    find_cache_rows,
    find_extraction,
    is_non_numpy_array,
    join_layers,
    query_blocks,
    split_heads,
)
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
from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy
from calm.fit.checks import check_count
from calm.fit.parallel import parallel_map
from calm.fit.vote import zeros
from calm.machine import available_cores

#: Arrays are computed with in their own precision; float16 and integers in float32.
_DTYPES = (np.float32, np.float64)


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """A few-shot classifier of head vectors.

    A method fills in three things: :meth:`_learn`, from support clips; :meth:`_make_scorer`, for queries; and
    :meth:`_make_head_scorer`, what each head adds to them. It annotates what it learns
    (:mod:`calm.classifiers.schema`), by which files are checked. Everything that would grow with the number of queries
    is seen part by part. Torch tensors stay on their device; all else is computed in numpy.

    Attributes
    ----------
    classes_ : array (C,)
        Labels, sorted.
    class_count_ : array (C,)
        Support clips of each class, or the sum of their weights.
    used_heads_ : array of int
        The heads that predictions need, ascending.
    head_names_ : array of str (K,)
        "layer 17 · head 5", both counted from 0, where layers are known.
    n_features_in_ : int
    extraction_ : Extraction or None
        How the support's head vectors were made, where they came from a cache, or from an extractor that says so.
    support_names_, support_groups_ : list of str or None
        Names and groups of the support clips, where they came from a cache.
    support_digests_ : list of (str or None), or None
        Digests of their contents, in hexadecimal digits, as far as they are known.
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
        """Learn from a support set.

        Parameters
        ----------
        X : array, torch tensor or HeadCache
            Head vectors ``(n, heads, dim)``, ``(n, layers, heads, dim)``, flat ``(n, heads · dim)`` with
            ``n_heads`` given, or (rows of) a :class:`calm.HeadCache`, which is streamed.
        y : array-like (n,)
            Labels of any kind.
        sample_weight : array-like (n,), default=None
            How much each clip counts; 2 is the same as the clip twice, 0 as if it were not there.
        groups : array-like (n,), default=None
            What clips have in common besides their label, such as a speaker or a recording. Clips of one group are held
            out together, by methods that hold clips out, so that what is chosen and foretold is right for groups not
            heard before. None, or an empty text, is a group of its own. Those of a cache unless given.

        Returns
        -------
        self

        Warns
        -----
        UserWarning
            If clips could be held out, but there are too few groups for it: clips are then held out one by one.

        Raises
        ------
        ValueError
            If shapes do not fit together, X holds NaN or infinity, there is only one class, or a parameter is out of
            range.
        """
        heads, labels, weights, group_numbers = self._validate_support(X, y, sample_weight, groups, reset=True)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            only = f"; all labels are one class, {self.classes_.tolist()[0]!r}" if len(self.classes_) else ""
            raise ValueError(f"at least two classes are needed{only}")
        self._check_parameters()
        self._learn(SupportSet(heads, numbers, weights, len(self.classes_), group_numbers))
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the label of each clip, ``(n,)``; ``X`` as in :meth:`fit`.

        Labels come as a numpy array; numbers as a tensor beside ``X`` where that is a torch tensor.
        """
        return self._choose_labels(self._compute_scores(X))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, ``(n, C)``, beside ``X``."""
        return self._compute_probabilities(self._compute_scores(X))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of clips whose label is predicted."""
        predicted = self.predict(X)
        truth, told = (to_numpy(labels) if is_non_numpy_array(labels) else labels for labels in (y, predicted))
        return float(accuracy_score(truth, told, sample_weight=sample_weight))

    def explain(self, X: Any) -> Explanation:
        """Say which heads spoke for which class, and how much each of them mattered.

        Parameters
        ----------
        X : array or HeadCache
            As in :meth:`fit`; a few clips, since what every head adds to every class is held for all of them.

        Returns
        -------
        Explanation
        """
        check_is_fitted(self)
        heads = self._validate_queries(X)
        vectors = heads.read()
        return Explanation.from_scores(
            parts=to_numpy(self._make_head_scorer(vectors)(vectors)),
            scores=to_numpy(self._compute_scores(X)),
            classes=self.classes_,
            head_names=self.head_names_[self.used_heads_],
        )

    @property
    def head_names_(self) -> NDArray[np.str_]:
        """What to call each head, ``(K,)``."""
        total, layers = self.n_heads_in_, self.layers_
        if layers is None:
            return np.array([f"head {head}" for head in range(total)])
        per_layer, extraction = total // layers, self.extraction_
        numbers = [
            layer if extraction is None else extraction.fingerprint.layer_number(layer) for layer in range(layers)
        ]
        return np.array([f"layer {numbers[h // per_layer]} · head {h % per_layer}" for h in range(total)])

    @property
    def used_layers_(self) -> NDArray[np.int64] | None:
        """The layers that predictions need, ascending; None if the layers are not known."""
        return None if self.layers_ is None else np.unique(self.used_heads_ // (self.n_heads_in_ // self.layers_))

    def _check_parameters(self) -> None:
        """Refuse parameters that are out of range."""
        if self.n_heads is not None:
            check_count("n_heads", self.n_heads)

    @abstractmethod
    def _learn(self, support: SupportSet) -> None:
        """Learn from support clips."""

    @abstractmethod
    def _make_scorer(self, like: Array) -> Callable[[Array], Array]:
        """Prepare a function from clips ``(b, used heads, D)`` to scores ``(b, C)``, for arrays that are as ``like``.

        The class of the largest score is predicted.
        """

    @abstractmethod
    def _make_head_scorer(self, like: Array) -> Callable[[Array], Array]:
        """Prepare a function from clips to what each head adds to their scores, ``(b, used heads, C)``."""

    def _compute_probabilities(self, scores: Array) -> Array:
        """Turn scores above zero into shares; a method that has better overrides this."""
        return scores / namespace(scores).sum(scores, axis=1, keepdims=True)

    def _choose_labels(self, scores: Array) -> NDArray[Any]:
        best = namespace(scores).argmax(scores, axis=1)
        if is_numpy(scores) or self.classes_.dtype.kind not in "biuf":
            return self.classes_[to_numpy(best)]
        return convert_like(scores, self.classes_)[best]

    def _compute_scores(self, X: Any) -> Array:
        check_is_fitted(self)
        heads = self._validate_queries(X)
        like = heads.like
        scorer = self._make_scorer(like)
        if not is_numpy(like):
            none = zeros(like, (0, len(self.classes_)))
            return namespace(like).concat([none, *(scorer(heads.read(part)) for part in query_blocks(heads, 1))])
        parts = parallel_map(lambda part: scorer(heads.read(part)), query_blocks(heads, available_cores()))
        # In double precision shares of many classes still sum to one.
        return np.concatenate(parts).astype(np.float64) if parts else np.empty((0, len(self.classes_)))

    def _validate_support(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None, groups: ArrayLike | None, reset: bool
    ) -> tuple[HeadVectors, NDArray[Any], NDArray[np.float64] | None, NDArray[np.int64] | None]:
        """Check a support set and note where it comes from; clips of no weight are left out."""
        if reset:
            self.__dict__.pop("feature_names_in_", None)  # of an earlier fit on a data frame
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
        """Check labelled clips, of whatever kind ``X`` is."""
        rows = find_cache_rows(X)
        if rows is not None:
            labels = column_or_1d(y)
            check_consistent_length(rows, labels)
            if labels.dtype.kind in "UO" and (labels == "").any():
                raise ValueError("some of these clips have no label: choose those that have one")
            if reset:
                self.n_features_in_ = StoredHeads(rows).shape[1]
            return StoredHeads(rows), labels
        X = join_layers(X)
        if not is_non_numpy_array(X):
            X, labels = validate_data(self, X, y, dtype=_DTYPES, allow_nd=True, reset=reset)
            return ArrayHeads(split_heads(X, self.n_heads)), labels
        heads, labels = ArrayHeads(split_heads(check_tensor(X), self.n_heads)), column_or_1d(y)
        if len(labels) != heads.shape[0]:
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: {[heads.shape[0], len(labels)]}"
            )
        if reset:
            self.n_features_in_ = X.shape[1]
        return heads, labels

    def _validate_queries(self, X: Any) -> HeadVectors:
        """Check queries, and choose the heads that are used."""
        self._check_extraction(X)
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
        """Refuse head vectors that are known to have been made in another way than those learnt from."""
        made, rows = find_extraction(X), find_cache_rows(X)
        if self.extraction_ is not None and made is not None:
            check_compatible(self.extraction_, made, "this classifier", "X" if rows is None else str(rows.cache.path))

    def _check_head_shape(self, heads: HeadVectors) -> None:
        """Refuse head vectors of another number or size than those learnt from."""
        if heads.shape[1:] != (self.n_heads_in_, self.dim_):
            raise ValueError(
                f"X has {heads.shape[1]} heads of {heads.shape[2]} dimensions; this {type(self).__name__} was fitted "
                f"on {self.n_heads_in_} of {self.dim_}"
            )

    def save(self, path: str | Path) -> None:
        """Write this fitted classifier as safetensors with JSON metadata; :func:`calm.load` reads it back.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it has not been fitted.
        TypeError
            If its labels are neither text, numbers nor booleans.
        ValueError
            If it holds what could not be loaded, such as NaN.
        OSError
            If the file cannot be written; one that was there is then left as it was.
        """
        check_is_fitted(self)
        learnt = {name: to_numpy(value) if is_non_numpy_array(value) else value for name, value in vars(self).items()}
        arrays = {name: learnt[name] for name in learned_arrays(type(self)) if learnt[name] is not None}
        try:
            check_arrays(self, arrays)
        except ValueError as error:
            raise ValueError(f"this {type(self).__name__} cannot be saved: {error}") from error
        names = learnt.get("feature_names_in_")
        header = {
            "classifier": type(self).__name__,
            "parameters": self.get_params(),
            **labels_to_json(self.classes_),
            "feature_names": None if names is None else names.tolist(),
            "extraction": None if self.extraction_ is None else extraction_to_json(self.extraction_),
            "learned": values_to_json(type(self), learnt),
        }
        write_classifier_file(Path(path), header, arrays)

    @classmethod
    def from_file(cls, header: Header, arrays: dict[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted classifier from what :meth:`save` wrote.

        Raises
        ------
        ValueError
            If that is not a whole and consistent classifier of this class.
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
        """Refuse what a file says of layers and features, where that does not fit together."""
        if self.n_heads_in_ % (self.layers_ or 1):
            raise ValueError(f"layers_ is {self.layers_}, which do not share {self.n_heads_in_} heads")
        if len(getattr(self, "feature_names_in_", range(self.n_features_in_))) != self.n_features_in_:
            raise ValueError(f"feature_names are not {self.n_features_in_}")
        try:
            _ = self.head_names_
        except (ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"its extraction does not name {self.layers_} layers: {error}") from error


def _has_layers(X: Any) -> bool:
    return getattr(X, "ndim", None) == 4


def _number_groups(groups: ArrayLike | None) -> NDArray[np.int64] | None:
    """Give every group a number; None if no two clips share one. An empty text or None is a group of its own."""
    listed = [] if groups is None else np.asarray(groups, dtype=object).tolist()
    keys = [(i,) if group is None or group == "" else group for i, group in enumerate(listed)]
    first = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return None if len(first) == len(keys) else np.array([first[key] for key in keys], dtype=np.int64)


def cast_like(like: Array, values: Any) -> Array:
    """Bring what was learnt to where ``like`` is, in its precision."""
    if is_non_numpy_array(values) and is_numpy(like):
        values = to_numpy(values)
    return convert_like(like, values, like.dtype)
