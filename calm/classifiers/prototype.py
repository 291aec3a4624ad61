"""Base class of classifiers with class prototypes, which support ``partial_fit`` without the previous clips."""

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
    """Base class of classifiers that keep a prototype for each class.

    ``fit`` starts from empty class statistics and adds the support clips; ``partial_fit`` adds more clips. A subclass
    implements ``_learn_heads``, which is called for a few heads at a time, and ``_combine_heads``, which needs
    all heads.

    Attributes
    ----------
    prototypes_ : array of shape (n_classes, n_used_heads, head_dim)
        Mean head vector of each class.
    scatter_ : array of shape (n_used_heads, head_dim, head_dim) or None
        Pooled within-class scatter matrix of each head. None if the method does not use it.

    See Also
    --------
    calm.classifiers.base.HeadClassifier : Base class of all classifiers.
    """

    prototypes_: Annotated[Array, LearnedArray("CUD")]
    scatter_: Annotated[Array, LearnedArray("UDD", when="_needs_scatter")]

    _needs_scatter = False

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Add support clips of known or new classes to a fitted classifier.

        The previous clips are not needed. Class counts, prototypes and scatter equal those of a fit on all clips. The
        notes of each class say how its other attributes are updated. The used heads stay those of the first fit.

        Parameters
        ----------
        X : array-like, torch.Tensor or HeadCache
            Head vectors of the new clips, in any form that :meth:`fit` accepts.
        y : array-like of shape (n_clips,)
            Class labels of the new clips.
        classes : array-like, default=None
            Ignored; present for compatibility with scikit-learn. New labels need not be declared.
        sample_weight : array-like of shape (n_clips,), default=None
            Weight of each clip. None means a weight of 1 for every clip.

        Returns
        -------
        self : PrototypeClassifier
            The updated classifier.

        Raises
        ------
        ValueError
            If :meth:`fit` would raise it, or if the head vectors come from another extraction than the previous ones.
            The first call needs clips of at least two classes.

        See Also
        --------
        fit : Fit the classifier on a support set.

        Examples
        --------
        >>> import numpy as np
        >>> from calm import NearestMeanClassifier
        >>> X = np.eye(3)[:, None, :]  # 3 clips, 1 head, 3 dimensions
        >>> clf = NearestMeanClassifier().fit(X[:2], ["dog", "rain"])
        >>> clf.partial_fit(X[2:], ["wind"]).classes_.tolist()
        ['dog', 'rain', 'wind']
        """
        if not hasattr(self, "classes_"):
            return self.fit(X, y, sample_weight)
        check_is_fitted(self)
        self._check_parameters()
        heads, labels, weights, _ = self._validate_support(X, y, sample_weight, None, reset=False)
        self._check_head_shape(heads)
        self._check_extraction(X)
        all_classes, new_index = _merge_labels(self.classes_, labels)
        self._record_new_clips(X)
        self._move_to(heads.like)
        self.classes_ = all_classes
        self._reindex_classes(new_index)
        numbers = np.searchsorted(self.classes_, labels)
        self._update(SupportSet(heads, numbers, weights, len(self.classes_)).select_heads(self.used_heads_))
        return self

    def _learn(self, support: SupportSet) -> None:
        self._init_statistics(support)
        self._init_head_results(support)
        self._choose_hyperparameters(support)
        self._update(support)

    def _init_statistics(self, support: SupportSet) -> None:
        """Initialize empty class statistics."""
        _, heads, dim = support.heads.shape
        like = support.heads.like
        self.dim_ = dim
        self.used_heads_ = np.arange(heads)
        self.class_count_ = np.zeros(support.n_classes)
        self.prototypes_ = zeros(like, (support.n_classes, heads, dim))
        self.scatter_ = zeros(like, (heads, dim, dim)) if self._needs_scatter else None

    def _choose_hyperparameters(self, support: SupportSet) -> None:
        """Choose hyperparameters on held-out support clips, before the fit on all clips."""

    def _update(self, support: SupportSet) -> None:
        """Add support clips to the class statistics, and learn from them."""
        previous_counts = self.class_count_
        keep_previous = self._needs_previous_prototypes and previous_counts.any()
        previous_prototypes = self.prototypes_ + 0.0 if keep_previous else None
        self._update_statistics(support)
        self._combine_heads(support, previous_counts, previous_prototypes)

    def _update_statistics(self, support: SupportSet) -> None:
        """Add clips to the class statistics, and learn what needs single heads only."""
        previous_counts = self.class_count_

        def update_block(heads: slice, X: Array) -> None:
            """Merge the statistics of a block of heads, and learn from them."""
            previous = ClassStatistics(previous_counts, *self._stored_statistics(heads))
            new = class_statistics(
                self._vectors_to_average(X), support.y, support.n_classes, support.weights, scatter=self._needs_scatter
            )
            merged = merge_statistics(previous, new)
            self.prototypes_[:, heads] = _astype_like(self.prototypes_, merged.means)
            if self.scatter_ is not None:
                _check_overflow(merged.scatter, X)
                self.scatter_[heads] = _astype_like(self.scatter_, merged.scatter)
            # Use the statistics in the dtype in which they are stored, so that results can be computed from them again.
            stored = ClassStatistics(merged.counts, *self._stored_statistics(heads))
            self._learn_heads(heads, X, stored, support, previous_counts)

        support.for_each_block(update_block)
        self.class_count_ = previous_counts + support.counts
        if support.weights is None and (previous_counts == previous_counts.round()).all():
            self.class_count_ = self.class_count_.astype(np.int64)

    def _stored_statistics(self, heads: slice) -> tuple[Array, Array | None]:
        """Return views of the prototypes and the scatter of some used heads."""
        return self.prototypes_[:, heads], None if self.scatter_ is None else self.scatter_[heads]

    #: Whether ``_combine_heads`` needs the prototypes from before the update.
    _needs_previous_prototypes = False

    def _vectors_to_average(self, X: Array) -> Array:
        """Return the vectors whose class means are the prototypes."""
        return X

    def _init_head_results(self, support: SupportSet) -> None:
        """Initialize what is learned for each head."""

    @abstractmethod
    def _learn_heads(
        self, heads: slice, X: Array, stats: ClassStatistics, support: SupportSet, previous_counts: NDArray[np.floating]
    ) -> None:
        """Learn what needs single heads only.

        Parameters
        ----------
        heads : slice
            Heads to learn from, among the used heads.
        X : array of shape (n_clips, n_heads, head_dim)
            Vectors of these heads for the new clips.
        stats : ClassStatistics
            Statistics of these heads over all clips, previous and new.
        support : SupportSet
            The new clips.
        previous_counts : array of shape (n_classes,)
            Number of previous clips of each class.
        """

    def _combine_heads(
        self, support: SupportSet, previous_counts: NDArray[np.floating], previous_prototypes: Array | None
    ) -> None:
        """Learn what needs all heads.

        ``previous_prototypes`` are the prototypes from before the update. They are None in the first fit.
        """

    def _reindex_classes(self, new_index: NDArray[np.int64]) -> None:
        """Make room for new classes; ``new_index`` holds the new class numbers of the previous classes."""
        n_classes = len(self.classes_)
        counts = np.zeros(n_classes)
        counts[new_index] = self.class_count_
        self.class_count_ = counts
        prototypes = zeros(self.prototypes_, (n_classes, *self.prototypes_.shape[1:]))
        for old, new in enumerate(new_index.tolist()):
            prototypes[new] = self.prototypes_[old]
        self.prototypes_ = prototypes

    def _move_to(self, like: Array) -> None:
        """Convert learned arrays to the library, device and dtype of the new clips."""
        for name, value in vars(self).items():
            if name in self._device_attributes and value is not None:
                setattr(self, name, cast_like(like, value))

    #: Learned arrays that are kept on the device of the clips.
    _device_attributes: tuple[str, ...] = ("prototypes_", "scatter_")

    def _record_new_clips(self, X: Any) -> None:
        """Add names, groups and digests of new clips, if those of the previous clips are known."""
        rows = find_cache_rows(X)
        if rows is not None and self.support_names_ is not None and self.support_groups_ is not None:
            previous_digests = self.support_digests_ or [None] * len(self.support_names_)
            self.support_digests_ = [*previous_digests, *rows.digests]
            self.support_names_ = [*self.support_names_, *rows.names.tolist()]
            self.support_groups_ = sorted({*self.support_groups_, *rows.groups.tolist()} - {""})


def _merge_labels(old: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted union of labels, and the indices of the old labels in it."""
    if any((old.dtype.kind in kinds) != (labels.dtype.kind in kinds) for kinds in ("UO", "b")):
        raise ValueError(
            f"labels must have the same type as before: got {labels[:1].tolist()}, fitted on {old[:1].tolist()}"
        )
    union = np.union1d(old, labels)
    return union, np.searchsorted(union, old)


def _check_overflow(scatter: Array, X: Array) -> None:
    """Raise ValueError if the squares of head vectors overflow their dtype."""
    xp = namespace(X)
    if not float(xp.max(scatter)) < float(xp.finfo(X.dtype).max):
        raise ValueError(
            f"X is too large for {X.dtype}, because its squares overflow: divide X by a constant, which does not "
            "change predictions"
        )


def _astype_like(like: Array, values: Array) -> Array:
    return values if is_numpy(like) else namespace(like).astype(values, like.dtype)
