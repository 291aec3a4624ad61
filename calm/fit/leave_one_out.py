"""Leave-one-out comparison of support clips with prototypes, in closed form and without a refit.

Without clip ``x``, the prototype of its class moves from ``μ`` to ``(n_c·μ − x)/(n_c − 1)``. The whitening covariance
loses the scatter of the residual ``r = x − μ``, a change of rank one. By the Sherman–Morrison formula, a whitened inner
product ``⟨a, c⟩`` grows by ``b·⟨a, r⟩⟨r, c⟩`` with ``b = β/(1 − β·‖r‖²)``, where β is the weight of ``r rᵀ`` in the
covariance. The centre and the shrinkage of the metric do not change.

Sherman and Morrison, "Adjustment of an inverse matrix corresponding to a change in one element of a given matrix", The
Annals of Mathematical Statistics 21(1), 1950.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, epsilon, namespace
from calm.fit.metric import Metric

#: Lower limit of ``1 − β·‖r‖²``, the variance that is left along the residual of a clip; see :func:`_inflation`.
_LEAST_LEFT = 0.05


@dataclass(frozen=True)
class LeaveOneOut:
    """Effect on each clip's class if the clip, or one unit of its sample weight, is left out.

    Attributes
    ----------
    units : array of float64 of shape (n_clips,)
        Weight that is left out: 1, or the whole weight of a clip that weighs less.
    step : array of float64 of shape (n_clips,)
        Movement of the prototype away from the clip, as a multiple of the clip's residual. It is 0 for clips that are
        alone in their class.
    alone : array of bool of shape (n_clips,)
        Whether nothing is left of the class without the clip.
    """

    units: NDArray[np.float64]
    step: NDArray[np.float64]
    alone: NDArray[np.bool_]


def leave_one_out(
    y: NDArray[np.integer], counts: NDArray[np.number], weights: NDArray[np.floating] | None = None
) -> LeaveOneOut:
    """Compute how the class of each clip changes if the clip is left out.

    Parameters
    ----------
    y : array of int of shape (n_clips,)
        Class number of each clip.
    counts : array of shape (n_classes,)
        Number of clips of each class, or the sum of their sample weights.
    weights : array of shape (n_clips,), default=None
        Sample weight of each clip. A clip of weight 2 stands for two clips, of which one is left out. None gives every
        clip weight 1.

    Returns
    -------
    LeaveOneOut
        Object with the attributes ``units`` (weight that is left out), ``step`` (movement of the prototype as a
        multiple of the clip's residual) and ``alone`` (whether the clip is the only one of its class), each of shape
        (n_clips,).

    See Also
    --------
    calm.fit.leave_one_out_similarity : Compare clips with prototypes that exclude them.
    calm.fit.class_counts : Count the clips of each class.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import leave_one_out
    >>> change = leave_one_out(np.array([0, 0, 1]), np.array([2, 1]))
    >>> change.step, change.alone
    (array([1., 1., 0.]), array([False, False,  True]))
    """
    units = np.ones(len(y)) if weights is None else np.minimum(1.0, weights)
    others = counts[y] - units
    alone = others < 1e-6
    return LeaveOneOut(units, np.where(alone, 0.0, units / np.where(alone, 1.0, others)), alone)


def leave_one_out_similarity(
    X: Array,
    y: NDArray[np.integer],
    prototypes: Array,
    counts: NDArray[np.number],
    metric: Metric | None = None,
    weights: NDArray[np.floating] | None = None,
) -> Array:
    """Compute the cosine similarity of support clips to prototypes that exclude the compared clip.

    Parameters
    ----------
    X : array of shape (n_clips, n_heads, head_dim)
        Head vectors of the support clips.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    prototypes : array of shape (n_classes, n_heads, head_dim)
        Class means over *all* support clips.
    counts : array of shape (n_classes,)
        Number of support clips of each class, or the sum of their sample weights.
    metric : Metric, default=None
        Metric built from *all* support clips. The compared clip is excluded from it, too. None compares the vectors
        without centring or whitening.
    weights : array of shape (n_clips,), default=None
        Sample weight of each clip. A clip of weight 2 stands for two clips, of which one is left out. None gives every
        clip weight 1.

    Returns
    -------
    array of shape (n_clips, n_heads, n_classes)
        Similarities in [-1, 1] up to rounding. The similarity of a clip to its own class is 0 if it is the only clip
        of that class.

    See Also
    --------
    calm.fit.LeaveOneOutSimilarity : Compare the clips in blocks.
    calm.fit.cosine_similarity : Compare query clips with prototypes.
    calm.fit.clip_reliability : Score heads by the similarities.

    Notes
    -----
    Prototypes and covariance change in closed form (Sherman and Morrison, 1950), without a refit. The centre and the
    shrinkage of the metric do not change.

    References
    ----------
    Sherman and Morrison, "Adjustment of an inverse matrix corresponding to a change in one element of a given matrix",
    The Annals of Mathematical Statistics 21(1), 1950.

    Examples
    --------
    Without the first clip, its class has only the second clip, which is orthogonal to it:

    >>> import numpy as np
    >>> from calm.fit import class_counts, class_means, leave_one_out_similarity
    >>> X = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])
    >>> y = np.array([0, 0, 1])
    >>> prototypes = class_means(X, y, 2)
    >>> leave_one_out_similarity(X, y, prototypes, class_counts(y, 2))[0, 0].round(3)
    array([0.   , 0.707])
    """
    return LeaveOneOutSimilarity.from_prototypes(X, prototypes, counts, metric)(X, y, weights)


@dataclass(frozen=True)
class LeaveOneOutSimilarity:
    """Leave-one-out cosine similarity of support clips, for use on blocks of clips.

    The similarities equal those of :func:`calm.fit.leave_one_out_similarity`. Terms that all blocks share are computed
    once.

    Attributes
    ----------
    prototypes : array of shape (n_heads, n_classes, head_dim)
        Class means in the metric.
    lengths : array of shape (n_heads, 1, n_classes)
        Squared lengths of the prototypes.
    between : array of shape (n_heads, n_classes, n_classes) or None
        Inner products of the prototypes. None without a metric.
    counts : array of shape (n_classes,)
        Number of support clips of each class, or the sum of their sample weights.
    metric : Metric or None
        Metric built from all support clips.
    scale : array of shape (n_heads, 1, 1)
        Divisor of the vectors of each head that keeps squares inside the range of float32.

    See Also
    --------
    calm.fit.leave_one_out_similarity : Compare all clips in one call.
    calm.fit.cosine_similarity : Compare query clips with prototypes.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import LeaveOneOutSimilarity, class_counts, class_means
    >>> X = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])
    >>> y = np.array([0, 0, 1])
    >>> compare = LeaveOneOutSimilarity.from_prototypes(X, class_means(X, y, 2), class_counts(y, 2), None)
    >>> compare(X[:2], y[:2])[:, 0].round(3)
    array([[0.   , 0.707],
           [0.   , 0.707]])
    """

    prototypes: Array
    lengths: Array
    between: Array | None
    counts: NDArray[np.number]
    metric: Metric | None
    scale: Array

    @classmethod
    def from_prototypes(
        cls, X: Array, prototypes: Array, counts: NDArray[np.number], metric: Metric | None
    ) -> LeaveOneOutSimilarity:
        """Compute the terms that all blocks of clips share.

        Parameters
        ----------
        X : array of shape (n_clips, n_heads, head_dim)
            Head vectors of all support clips.
        prototypes : array of shape (n_classes, n_heads, head_dim)
            Class means over all support clips.
        counts : array of shape (n_classes,)
            Number of support clips of each class, or the sum of their sample weights.
        metric : Metric or None
            Metric built from all support clips. None compares the vectors without centring or whitening.

        Returns
        -------
        LeaveOneOutSimilarity
            Object to call on blocks of the same clips.
        """
        xp = namespace(X)
        if metric is None:
            P = xp.permute_dims(prototypes, (1, 0, 2))
            largest = xp.max(xp.abs(xp.concat([X, prototypes])), axis=(0, 2))[:, None, None]
            scale = xp.where(largest > 0, largest, xp.ones_like(largest))
        else:
            P = metric.project(prototypes)
            scale = xp.ones_like(P[:, :1, :1])
        P = P / scale
        between = None if metric is None else xp.matmul(P, xp.permute_dims(P, (0, 2, 1)))
        return cls(P, _inner(P, P)[:, None, :], between, counts, metric, scale)

    def __call__(self, X: Array, y: NDArray[np.integer], weights: NDArray[np.floating] | None = None) -> Array:
        """Compare a block of support clips with the prototypes.

        Parameters
        ----------
        X : array of shape (n_clips, n_heads, head_dim)
            Head vectors of some support clips.
        y : array of int of shape (n_clips,)
            Class number of each clip.
        weights : array of shape (n_clips,), default=None
            Sample weight of each clip. None gives every clip weight 1.

        Returns
        -------
        array of shape (n_clips, n_heads, n_classes)
            Cosine similarities; see :func:`calm.fit.leave_one_out_similarity`.
        """
        xp, P = namespace(X), self.prototypes
        Z = xp.permute_dims(X, (1, 0, 2)) / self.scale if self.metric is None else self.metric.project(X)
        without = leave_one_out(y, self.counts, weights)
        rows, true_class = convert_like(Z, np.arange(len(y))), convert_like(Z, y)
        means = P[:, true_class]
        residual = Z - means  # (n_heads, n_clips, head_dim)
        own = means - convert_like(Z, without.step, Z.dtype)[:, None] * residual  # prototype of the clip's own class
        own *= convert_like(Z, ~without.alone, Z.dtype)[:, None]  # exactly zero instead of a rounding error

        similarity = xp.matmul(Z, xp.permute_dims(P, (0, 2, 1)))  # inner products, (n_heads, n_clips, n_classes)
        own_dot, own_length, clip_length = _inner(Z, own), _inner(own, own), _inner(Z, Z)  # lengths are squared
        # A prototype that cancelled to a rounding error counts as zero.
        own_length *= xp.astype(own_length > (16 * epsilon(Z)) ** 2 * clip_length, Z.dtype)
        if self.between is None or self.metric is None:
            lengths = xp.zeros_like(similarity) + self.lengths
        else:
            # The clip leaves the covariance: ⟨a, c⟩ grows by inflation·⟨a, r⟩⟨r, c⟩, with the residual r.
            inflation = _inflation(_inner(residual, residual), self.metric.leverage[:, None], without)
            clip_residual, own_residual = _inner(Z, residual), _inner(residual, own)
            lengths = similarity - self.between[:, true_class]  # ⟨r, μ_c⟩; the next lines reuse its memory
            similarity += (inflation * clip_residual)[..., None] * lengths
            lengths *= lengths
            lengths *= inflation[..., None]
            lengths += self.lengths
            own_dot = own_dot + inflation * clip_residual * own_residual
            own_length = own_length + inflation * own_residual**2
            clip_length = clip_length + inflation * clip_residual**2
        similarity[:, rows, true_class], lengths[:, rows, true_class] = own_dot, own_length
        return xp.permute_dims(_divide_by_lengths(similarity, lengths, clip_length), (1, 0, 2))


def _divide_by_lengths(products: Array, prototype_lengths: Array, clip_lengths: Array) -> Array:
    """Turn inner products into cosines, in the memory of both large arrays; the lengths are squared."""
    xp = namespace(products)
    xp.sqrt(prototype_lengths, out=prototype_lengths)
    prototype_lengths *= xp.sqrt(clip_lengths)[..., None]
    # Where a vector is zero, the inner product is zero too: division by one gives a cosine of zero.
    prototype_lengths += xp.astype(prototype_lengths == 0, prototype_lengths.dtype)
    products /= prototype_lengths
    return products


def _inflation(residual_length: Array, leverage: Array, without: LeaveOneOut) -> Array:
    """Return ``b = β/(1 − β·‖r‖²)`` of each head and clip."""
    # Without one of its n_c clips, a class loses n_c/(n_c − 1)·r rᵀ of scatter.
    lost = np.where(without.alone, 0.0, without.units + without.step * without.units)
    beta = leverage * convert_like(residual_length, lost, residual_length.dtype)
    # With few clips, the covariance can lose almost all variance along the residual. A refit would then choose a
    # larger shrinkage; the limit stands in for it.
    return beta / namespace(residual_length).clip(1 - beta * residual_length, _LEAST_LEFT, None)


def _inner(a: Array, b: Array) -> Array:
    """Return the inner products along the last axis."""
    return namespace(a).sum(a * b, axis=-1)
