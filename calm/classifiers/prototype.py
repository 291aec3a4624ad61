"""Classifiers that rest on class statistics, and so can grow without the clips that they have learnt from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import HeadClassifier, cast_like
from calm.classifiers.inputs import find_cache_rows
from calm.classifiers.schema import LearnedArray
from calm.classifiers.support_set import SupportSet
from calm.fit import ClassStatistics, class_statistics, merge_statistics
from calm.fit.arrays import Array, is_numpy, namespace
from calm.fit.vote import zeros


class PrototypeClassifier(HeadClassifier):
    """A classifier whose classes have prototypes.

    To fit is to grow from nothing. A method fills in :meth:`_learn_heads`, for some heads at a time, and
    :meth:`_combine_heads`, for all that needs every head.

    Attributes
    ----------
    prototypes_ : array (C, used heads, D)
        Mean head vector of each class.
    scatter_ : array (used heads, D, D) or None
        Pooled within-class scatter, where the method needs it.
    """

    prototypes_: Annotated[Array, LearnedArray("CUD")]
    scatter_: Annotated[Array, LearnedArray("UDD", when="_needs_scatter")]

    _needs_scatter = False

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Learn from further shots, of old classes or new ones, without the clips learnt from before.

        Counts, prototypes and scatter are those of a fit on all clips together. What else carries over is said in the
        class's own description. The heads that are used stay those of the first fit.

        Parameters
        ----------
        X, y, sample_weight
            As in :meth:`fit`.
        classes : array-like, default=None
            Labels that may come later. They need not be known beforehand, and none is predicted before it has clips.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As :meth:`fit` does, the first clips being of two classes at least; and if head vectors come from another
            extraction than before.
        """
        if not hasattr(self, "classes_"):
            return self.fit(X, y, sample_weight)
        check_is_fitted(self)
        self._check_parameters()
        heads, labels, weights, _ = self._validate_support(X, y, sample_weight, None, reset=False)
        self._check_head_shape(heads)
        self._check_extraction(X)
        union, before = _merge_labels(self.classes_, labels)
        self._record_new_clips(X)
        self._move_to(heads.like)
        self.classes_ = union
        self._reindex_classes(before)
        numbers = np.searchsorted(self.classes_, labels)
        self._update(SupportSet(heads, numbers, weights, len(self.classes_)).select_heads(self.used_heads_))
        return self

    def _learn(self, support: SupportSet) -> None:
        self._init_statistics(support)
        self._init_head_results(support)
        self._choose_hyperparameters(support)
        self._update(support)

    def _init_statistics(self, support: SupportSet) -> None:
        """Make room for class statistics."""
        _, heads, dim = support.heads.shape
        like = support.heads.like
        self.dim_ = dim
        self.used_heads_ = np.arange(heads)
        self.class_count_ = np.zeros(support.n_classes)
        self.prototypes_ = zeros(like, (support.n_classes, heads, dim))
        self.scatter_ = zeros(like, (heads, dim, dim)) if self._needs_scatter else None

    def _choose_hyperparameters(self, support: SupportSet) -> None:
        """Choose what is chosen on held-out support clips, before the fit on all of them."""

    def _update(self, support: SupportSet) -> None:
        before = self.class_count_
        previous = self.prototypes_ + 0.0 if self._needs_previous_prototypes and before.any() else None
        self._update_statistics(support)
        self._combine_heads(support, before, previous)

    def _update_statistics(self, support: SupportSet) -> None:
        """Add clips to the class statistics, and learn what can be learnt head by head."""
        counts = self.class_count_

        def update(part: slice, X: Array) -> None:
            before = ClassStatistics(
                counts, self.prototypes_[:, part], None if self.scatter_ is None else self.scatter_[part]
            )
            new = class_statistics(
                self._vectors_to_average(X), support.y, support.n_classes, support.weights, scatter=self._needs_scatter
            )
            both = merge_statistics(before, new)
            self.prototypes_[:, part] = _astype_like(self.prototypes_, both.means)
            if self.scatter_ is not None:
                xp = namespace(X)
                if not float(xp.max(both.scatter)) < float(xp.finfo(X.dtype).max):
                    raise ValueError(
                        f"X is too large for {X.dtype}, in which squares of its numbers are kept: divide it, "
                        "which changes nothing else"
                    )
                self.scatter_[part] = _astype_like(self.scatter_, both.scatter)
            # In the precision that is kept, so that what is learnt can be worked out again from it.
            scatter = None if self.scatter_ is None else self.scatter_[part]
            kept = ClassStatistics(both.counts, self.prototypes_[:, part], scatter)
            self._learn_heads(part, X, kept, support, counts)

        support.for_each_block(update)
        self.class_count_ = counts + support.counts
        if support.weights is None and (counts == counts.round()).all():
            self.class_count_ = self.class_count_.astype(np.int64)

    #: Whether :meth:`_combine_heads` asks for the prototypes as they were.
    _needs_previous_prototypes = False

    def _vectors_to_average(self, X: Array) -> Array:
        """Return what prototypes are the means of."""
        return X

    def _init_head_results(self, support: SupportSet) -> None:
        """Make room for what is learnt of each head."""

    @abstractmethod
    def _learn_heads(
        self, part: slice, X: Array, stats: ClassStatistics, support: SupportSet, before: NDArray[np.floating]
    ) -> None:
        """Learn what can be learnt head by head.

        Parameters
        ----------
        part : slice
            Of the used heads.
        X : array (n, heads, D)
            Of the new clips.
        stats : ClassStatistics
            Of all clips there ever were.
        support : SupportSet
            The new clips.
        before : array (C,)
            Clips that were there before, of each class.
        """

    def _combine_heads(self, support: SupportSet, before: NDArray[np.floating], previous: Array | None) -> None:
        """Learn what needs all heads; ``previous`` are the prototypes as they were, if there were any."""

    def _reindex_classes(self, before: NDArray[np.int64]) -> None:
        """Lay out what was learnt of classes anew; ``before`` holds the new numbers of the old classes."""
        classes = len(self.classes_)
        counts = np.zeros(classes)
        counts[before] = self.class_count_
        self.class_count_ = counts
        prototypes = zeros(self.prototypes_, (classes, *self.prototypes_.shape[1:]))
        for old, new in enumerate(before.tolist()):
            prototypes[new] = self.prototypes_[old]
        self.prototypes_ = prototypes

    def _move_to(self, like: Array) -> None:
        """Bring what was learnt to where further clips are, in their precision."""
        for name, value in vars(self).items():
            if name in self._device_attributes and value is not None:
                setattr(self, name, cast_like(like, value))

    #: LearnedArray arrays that are where the clips are.
    _device_attributes: tuple[str, ...] = ("prototypes_", "scatter_")

    def _record_new_clips(self, X: Any) -> None:
        rows = find_cache_rows(X)
        if rows is not None and self.support_names_ is not None and self.support_groups_ is not None:
            before = self.support_digests_ or [None] * len(self.support_names_)
            self.support_digests_ = [*before, *rows.digests]
            self.support_names_ = [*self.support_names_, *rows.names.tolist()]
            self.support_groups_ = sorted({*self.support_groups_, *rows.groups.tolist()} - {""})


def _merge_labels(old: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return all labels, sorted, and where the old ones are among them."""
    if any((old.dtype.kind in kinds) != (labels.dtype.kind in kinds) for kinds in ("UO", "b")):
        raise ValueError(f"labels of another kind than before: {labels[:1].tolist()}, not like {old[:1].tolist()}")
    union = np.union1d(old, labels)
    return union, np.searchsorted(union, old)


def _astype_like(like: Array, values: Array) -> Array:
    return values if is_numpy(like) else namespace(like).astype(values, like.dtype)
