"""Validation of the support sets and queries of a classifier, for every supported type of input."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from calm.classifiers.failed_clips import leave_out_failed_clips
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
    split_heads,
)
from calm.classifiers.schema import Count, LearnedArray
from calm.extract import Extraction, check_compatible
from calm.fit.arrays import Array, to_numpy
from calm.fit.checks import check_count

#: Floating-point dtypes that are kept. All other dtypes, such as float16 and integers, are converted to float32.
_DTYPES = (np.float32, np.float64)


class ValidatedInput(BaseEstimator):
    """Base class that validates support sets and queries, and knows the origin and the heads of the support set.

    See Also
    --------
    calm.classifiers.base.HeadClassifier : The classifier, which describes the attributes.
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

    if TYPE_CHECKING:
        classes_: NDArray[Any]
        extraction_: Extraction | None

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
            self.extraction_ = find_extraction(X)
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


def _has_layers(X: Any) -> bool:
    return getattr(X, "ndim", None) == 4


def _number_groups(groups: ArrayLike | None) -> NDArray[np.int64] | None:
    """Map groups to integers; return None if no two clips share one. None or an empty string is a group of one clip."""
    listed = [] if groups is None else np.asarray(groups, dtype=object).tolist()
    keys = [(i,) if group is None or group == "" else group for i, group in enumerate(listed)]
    first = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return None if len(first) == len(keys) else np.array([first[key] for key in keys], dtype=np.int64)
