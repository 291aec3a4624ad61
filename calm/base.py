"""What all classifiers of head vectors share: checking, labels, streaming, saving."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from calm.classifier_file import write_classifier_file
from calm.extract import Extraction, Fingerprint, Request
from calm.fit import class_counts, class_sums
from calm.heads import ArrayHeads, HeadVectors, block_clips, join_layers, split_heads, stored_heads

#: Arrays are computed with in their own precision; float16 and integers in float32.
_DTYPES = (np.float32, np.float64)


class HeadClassifier(ClassifierMixin, BaseEstimator):
    """A few-shot classifier of head vectors.

    A method fills in two things: :meth:`_learn`, from support clips, and :meth:`_score`, for a block of queries.
    Everything that would grow with the number of clips is seen block by block.

    Attributes
    ----------
    classes_ : array (C,)
        Labels, sorted.
    class_count_ : array of int (C,)
        Support clips of each class.
    prototypes_ : array (C, K, D)
        Mean head vector of each class.
    n_features_in_ : int
    extraction_ : Extraction or None
        How the support's head vectors were made, where they came from a cache.
    support_names_, support_groups_ : list of str or None
        Names and groups of the support clips, where they came from a cache.
    """

    n_heads: int | None

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Learn from a support set.

        Parameters
        ----------
        X : array or HeadCache
            Head vectors ``(n, heads, dim)``, ``(n, layers, heads, dim)``, flat ``(n, heads · dim)`` with
            ``n_heads`` given, or (rows of) a :class:`calm.HeadCache`, which is streamed.
        y : array-like (n,)
            Labels of any kind.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If shapes do not fit together, X holds NaN or infinity, there is only one class, or a parameter is out of
            range.
        """
        rows = stored_heads(X)
        heads: HeadVectors
        if rows is None:
            X, labels = validate_data(self, join_layers(X), y, dtype=_DTYPES, allow_nd=True)
            heads = ArrayHeads(split_heads(X, self.n_heads))
        else:
            heads, labels = rows, column_or_1d(y)
            check_consistent_length(rows, labels)
            if labels.dtype.kind in "UO" and (labels == "").any():
                raise ValueError("some of these clips have no label: choose those that have one")
            self.n_features_in_ = heads.shape[1]
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"at least two classes are needed; all labels are one class, {self.classes_.tolist()[0]!r}"
            )
        self.class_count_ = class_counts(numbers, len(self.classes_))
        self.extraction_: Extraction | None = None if rows is None else rows.extraction
        self.support_names_: list[str] | None = None if rows is None else rows.names.tolist()
        self.support_groups_: list[str] | None = None if rows is None else sorted({*rows.groups.tolist()} - {""})
        sums = np.zeros((len(self.classes_), *heads.shape[1:]))
        for block, block_numbers in self._labelled_blocks(heads, numbers):
            class_sums(block, block_numbers, len(self.classes_), out=sums)
        self.prototypes_ = (sums / self.class_count_[:, None, None]).astype(heads.dtype)
        self._learn(heads, numbers)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the label of each clip, ``(n,)``; ``X`` as in :meth:`fit`."""
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the score of each class as a share of all, ``(n, C)``: it ranks, and is not calibrated."""
        scores = self._scores(X)
        return scores / scores.sum(axis=1, keepdims=True)

    @abstractmethod
    def _learn(self, heads: HeadVectors, y: NDArray[np.int64]) -> None:
        """Learn what the method needs beyond prototypes; ``y`` holds class numbers."""

    @abstractmethod
    def _score(self, block: NDArray[np.floating]) -> NDArray[np.float64]:
        """Score a block of clips ``(b, K, D)``: above zero, ``(b, C)``, the largest is predicted."""

    def _scores(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        heads = self._checked_heads(X)
        size = block_clips(heads, len(self.classes_))
        scores = [self._score(block) for block in heads.blocks(size)]
        return np.concatenate(scores) if scores else np.empty((0, len(self.classes_)))

    def _checked_heads(self, X: Any) -> HeadVectors:
        rows = stored_heads(X)
        heads: HeadVectors
        if rows is None:
            X = validate_data(self, join_layers(X), dtype=_DTYPES, allow_nd=True, reset=False)
            heads = ArrayHeads(split_heads(X, self.n_heads))
        else:
            heads = rows
            if self.extraction_ is not None:
                self.extraction_.check_same(rows.extraction, "this classifier", str(rows.cache.path))
        if heads.shape[1:] != self.prototypes_.shape[1:]:
            raise ValueError(
                f"X has {heads.shape[1]} heads of {heads.shape[2]} dimensions; this {type(self).__name__} was fitted "
                f"on {self.prototypes_.shape[1]} of {self.prototypes_.shape[2]}"
            )
        return heads

    def _labelled_blocks(
        self, heads: HeadVectors, y: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.int64]]]:
        size = block_clips(heads, len(self.classes_))
        for i, block in enumerate(heads.blocks(size)):
            yield block, y[i * size : i * size + len(block)]

    def save(self, path: str | Path) -> None:
        """Write this fitted classifier as safetensors with JSON metadata; :func:`calm.load` reads it back.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If it has not been fitted.
        TypeError
            If its labels are neither text, numbers nor booleans.
        OSError
            If the file cannot be written; one that was there is then left as it was.
        """
        check_is_fitted(self)
        learned = {name: value for name, value in vars(self).items() if name.endswith("_")}
        classes, extraction = learned.pop("classes_"), learned.pop("extraction_")
        if classes.dtype.kind not in "UOifub":
            raise TypeError(f"labels of type {classes.dtype} cannot be saved: use text, numbers or booleans")
        arrays = {name: value for name, value in learned.items() if isinstance(value, np.ndarray)}
        tensors = {name: value for name, value in arrays.items() if value.dtype.kind in "ifub"}
        header = {
            "classifier": type(self).__name__,
            "parameters": self.get_params(),
            "classes": classes.tolist(),
            "classes_dtype": "object" if classes.dtype.kind == "O" else classes.dtype.str,
            "extraction": None if extraction is None else asdict(extraction),
            "learned": {name: value for name, value in learned.items() if name not in arrays},
            "texts": {name: value.tolist() for name, value in arrays.items() if name not in tensors},
        }
        write_classifier_file(Path(path), header, tensors)

    @classmethod
    def from_description(cls, header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        """Rebuild a fitted classifier from what :meth:`save` wrote.

        Raises
        ------
        KeyError, TypeError
            If the description is not one of this class.
        """
        classifier = cls(**header["parameters"])
        texts = {name: np.asarray(value, dtype=object) for name, value in header["texts"].items()}
        for name, value in (header["learned"] | texts | tensors).items():
            setattr(classifier, name, value)
        classifier.classes_ = np.asarray(header["classes"], dtype=header["classes_dtype"])
        made = header["extraction"]
        classifier.extraction_ = made and Extraction(
            Request(**made["request"]), Fingerprint(**made["fingerprint"]), made["text"]
        )
        return classifier
