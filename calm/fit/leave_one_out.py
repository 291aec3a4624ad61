"""Support clips seen as if each had been left out, in closed form: no refit is needed.

Leaving a clip out moves the prototype of its class to ``(n_c·μ − x)/(n_c − 1)``, and takes its residual ``r = x − μ``
out of the whitening covariance, a rank-one change: by Sherman and Morrison, whitened inner products change by
``b·⟨a, r⟩⟨r, c⟩`` with ``b = β/(1 − β·‖r‖²)``. The centre and the shrinkage strength stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, epsilon, namespace
from calm.fit.metric import Metric

#: Least part of a clip's own direction that is taken to be left when it is gone; see :func:`_boost_of`.
_LEAST_LEFT = 0.05


@dataclass(frozen=True)
class LeaveOneOut:
    """What leaving out one clip, or one unit of a clip's weight, takes from its class."""

    units: NDArray[np.float64]  #: (n,) weight that is left out: 1, or all of a clip that has less
    step: NDArray[np.float64]  #: (n,) how far the prototype moves, in residuals; 0 where the clip is alone
    alone: NDArray[np.bool_]  #: (n,) nothing of the class is left without the clip


def leave_one_out(
    y: NDArray[np.integer], counts: NDArray[np.number], weights: NDArray[np.floating] | None = None
) -> LeaveOneOut:
    """Work out what is left of each clip's class without it.

    >>> leave_one_out(np.array([0, 0, 1]), np.array([2, 1])).step
    array([1., 1., 0.])
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
    """Compute ``cos(x, μ)`` of support clips, each against prototypes (and in a metric) built without it.

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors of support clips, all of them or a block.
    y : array of int (n,)
    prototypes : array (C, K, D)
        Means over *all* support clips.
    counts : array (C,)
        Number of support clips behind each prototype, or the sum of their weights.
    metric : Metric, optional
        Built from all support clips; each is taken out of it again.
    weights : array (n,), optional
        A clip of weight 2 stands for two: one of them is left out.

    Returns
    -------
    array (n, K, C)
        Where a clip is alone in its class, nothing is left of the prototype and its similarity is 0.

    Examples
    --------
    The first clip's own class is left with the second clip, which is orthogonal to it:

    >>> from calm.fit import class_counts, class_means
    >>> X = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])
    >>> y = np.array([0, 0, 1])
    >>> mu = class_means(X, y, 2)
    >>> leave_one_out_similarity(X, y, mu, class_counts(y, 2))[0, 0].round(3)
    array([0.   , 0.707])
    """
    return LeaveOneOutSimilarity.of(X, prototypes, counts, metric)(X, y, weights)


@dataclass(frozen=True)
class LeaveOneOutSimilarity:
    """:func:`leave_one_out_similarity`, with what all blocks of clips have in common worked out once."""

    prototypes: Array  #: (K, C, D) in the metric
    lengths: Array  #: (K, 1, C) squared
    between: Array | None  #: (K, C, C) inner products of prototypes, where there is a metric
    counts: NDArray[np.number]
    metric: Metric | None
    scale: Array  #: (K, 1, 1) what heads are divided by, so that squares stay inside float32

    @classmethod
    def of(
        cls, X: Array, prototypes: Array, counts: NDArray[np.number], metric: Metric | None
    ) -> LeaveOneOutSimilarity:
        """Prepare for support clips ``X``, all of them."""
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
        """Compare support clips ``(n, K, D)`` of classes ``y``; returns ``(n, K, C)``."""
        xp, P = namespace(X), self.prototypes
        Z = xp.permute_dims(X, (1, 0, 2)) / self.scale if self.metric is None else self.metric.project(X)
        without = leave_one_out(y, self.counts, weights)
        rows, own_class = convert_like(Z, np.arange(len(y))), convert_like(Z, y)
        means = P[:, own_class]
        residual = Z - means  # (K, n, D)
        own = means - convert_like(Z, without.step, Z.dtype)[:, None] * residual
        own *= convert_like(Z, ~without.alone, Z.dtype)[:, None]  # else rounding would point it anywhere

        similarity = xp.matmul(Z, xp.permute_dims(P, (0, 2, 1)))  # (K, n, C)
        own_dot, own_length, clip_length = _inner(Z, own), _inner(own, own), _inner(Z, Z)
        # A mean that cancelled out is zero, whatever its rounding says.
        own_length *= xp.astype(own_length > (16 * epsilon(Z)) ** 2 * clip_length, Z.dtype)
        if self.between is None or self.metric is None:
            below = xp.zeros_like(similarity) + self.lengths
        else:
            boost = _boost_of(_inner(residual, residual), self.metric.leverage[:, None], without)
            across, own_across = _inner(Z, residual), _inner(residual, own)
            below = similarity - self.between[:, own_class]  # ⟨r, μ_c⟩, to become the squared length of μ_c
            similarity += (boost * across)[..., None] * below
            below *= below
            below *= boost[..., None]
            below += self.lengths
            own_dot = own_dot + boost * across * own_across
            own_length = own_length + boost * own_across**2
            clip_length = clip_length + boost * across**2
        similarity[:, rows, own_class], below[:, rows, own_class] = own_dot, own_length
        xp.sqrt(below, out=below)
        below *= xp.sqrt(clip_length)[..., None]
        below += xp.astype(below == 0, below.dtype)  # where either is zero, so is the product
        similarity /= below
        return xp.permute_dims(similarity, (1, 0, 2))


def _boost_of(residual_length: Array, leverage: Array, without: LeaveOneOut) -> Array:
    # A class of n_c loses n_c/(n_c − 1)·r rᵀ of scatter with a clip.
    lost = np.where(without.alone, 0.0, without.units + without.step * without.units)
    beta = leverage * convert_like(residual_length, lost, residual_length.dtype)
    # With few clips the covariance may all but lose the direction; the shrinkage that would be chosen then is larger.
    return beta / namespace(residual_length).clip(1 - beta * residual_length, _LEAST_LEFT, None)


def _inner(a: Array, b: Array) -> Array:
    return namespace(a).sum(a * b, axis=-1)
