"""Support clips seen as if each had been left out, in closed form: no refit is needed.

Leaving a clip out moves the prototype of its class to ``(n_c·μ − x)/(n_c − 1)``, and takes its residual ``r = x − μ``
out of the whitening covariance, a rank-one change: by Sherman and Morrison, whitened inner products change by
``b·⟨a, r⟩⟨r, c⟩`` with ``b = β/(1 − β·‖r‖²)``. The centre and the shrinkage strength stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, beside, epsilon, namespace
from calm.fit.metric import Metric

#: Least part of a clip's own direction that is taken to be left when it is gone; see :func:`_boost`.
_LEAST_LEFT = 0.05


@dataclass(frozen=True)
class LeftOut:
    """What leaving out one clip, or one unit of a clip's weight, takes from its class."""

    units: NDArray[np.float64]  #: (n,) weight that is left out: 1, or all of a clip that has less
    step: NDArray[np.float64]  #: (n,) how far the prototype moves, in residuals; 0 where the clip is alone
    alone: NDArray[np.bool_]  #: (n,) nothing of the class is left without the clip


def left_out(
    y: NDArray[np.integer], counts: NDArray[np.number], weights: NDArray[np.floating] | None = None
) -> LeftOut:
    """Work out what is left of each clip's class without it.

    >>> left_out(np.array([0, 0, 1]), np.array([2, 1])).step
    array([1., 1., 0.])
    """
    units = np.ones(len(y)) if weights is None else np.minimum(1.0, weights)
    others = counts[y] - units
    alone = others < 1e-6
    return LeftOut(units, np.where(alone, 0.0, units / np.where(alone, 1.0, others)), alone)


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
    xp = namespace(X)
    if metric is None:
        Z, P = _of_even_scale(xp.permute_dims(X, (1, 0, 2)), xp.permute_dims(prototypes, (1, 0, 2)))
    else:
        Z, P = metric.project(X), metric.project(prototypes)
    without = left_out(y, counts, weights)
    rows, own_class = beside(Z, np.arange(len(y))), beside(Z, y)
    residual = Z - P[:, own_class]  # (K, n, D)
    own = P[:, own_class] - beside(Z, without.step, Z.dtype)[:, None] * residual
    own *= beside(Z, ~without.alone, Z.dtype)[:, None]  # else rounding would point it anywhere

    dot = xp.matmul(Z, xp.permute_dims(P, (0, 2, 1)))  # (K, n, C)
    length = xp.sum(P * P, axis=-1)[:, None, :] + xp.zeros_like(dot)
    own_dot, own_length, clip_length = _inner(Z, own), _inner(own, own), _inner(Z, Z)
    # A mean that cancelled out is zero, whatever its rounding says.
    own_length *= xp.astype(own_length > (16 * epsilon(Z)) ** 2 * clip_length, Z.dtype)
    if metric is not None:
        boost = _boost(metric, residual, without)
        across, own_across = _inner(Z, residual), _inner(residual, own)
        between = xp.matmul(P, xp.permute_dims(P, (0, 2, 1)))[:, own_class]  # (K, n, C): ⟨μ_y, μ_c⟩
        residual_dot = dot - between
        dot = dot + (boost * across)[..., None] * residual_dot
        length = length + boost[..., None] * residual_dot**2
        own_dot = own_dot + boost * across * own_across
        own_length = own_length + boost * own_across**2
        clip_length = clip_length + boost * across**2
    dot[:, rows, own_class], length[:, rows, own_class] = own_dot, own_length
    below = xp.sqrt(clip_length)[..., None] * xp.sqrt(length)
    similarity = xp.where(below > 0, dot / xp.where(below > 0, below, xp.ones_like(below)), xp.zeros_like(dot))
    return xp.permute_dims(similarity, (1, 0, 2))


def leave_one_out_kernel(Z: Array, P: Array, y: NDArray[np.integer], leverage: Array, without: LeftOut) -> Array:
    """Compute the cosine of each support clip with all others, in a metric built without it, for one head.

    Parameters
    ----------
    Z : array (n, D)
        Whitened clips.
    P : array (C, D)
        Whitened class means.
    y : array of int (n,)
    leverage : array ()
        Of this head, from :class:`calm.fit.Metric`.
    without : LeftOut

    Returns
    -------
    array (n, n)
        Not symmetric: row i is measured as clip i would see the others, had it not been there.
    """
    xp = namespace(Z)
    own_class = beside(Z, y)
    kernel = Z @ Z.T
    length = xp.linalg.diagonal(kernel) + 0.0  # a copy: the kernel changes below
    to_means = Z @ P.T  # (n, C)
    own_mean = P[own_class]
    across = length - _inner(Z, own_mean)  # ⟨z, r⟩
    residual_length = xp.clip(across - _inner(own_mean, Z - own_mean), 0.0, None)
    boost = _boost_of(residual_length, leverage, without)
    residual_dot = kernel - to_means.T[own_class]  # ⟨r_i, z_j⟩
    kernel += (boost * across)[:, None] * residual_dot
    residual_dot *= residual_dot
    residual_dot *= boost[:, None]
    residual_dot += length
    residual_dot *= (length + boost * across**2)[:, None]
    below = xp.sqrt(residual_dot)
    kernel /= xp.where(below > 0, below, xp.ones_like(below))
    return kernel


def _boost(metric: Metric, residual: Array, without: LeftOut) -> Array:
    """Compute b of Sherman and Morrison for each head and clip, ``(K, n)``."""
    return _boost_of(_inner(residual, residual), metric.leverage[:, None], without)


def _boost_of(residual_length: Array, leverage: Array, without: LeftOut) -> Array:
    # A class of n_c loses n_c/(n_c − 1)·r rᵀ of scatter with a clip.
    lost = np.where(without.alone, 0.0, without.units + without.step * without.units)
    beta = leverage * beside(residual_length, lost, residual_length.dtype)
    # With few clips the covariance may all but lose the direction; the shrinkage that would be chosen then is larger.
    return beta / namespace(residual_length).clip(1 - beta * residual_length, _LEAST_LEFT, None)


def _inner(a: Array, b: Array) -> Array:
    return namespace(a).sum(a * b, axis=-1)


def _of_even_scale(Z: Array, P: Array) -> tuple[Array, Array]:
    """Divide each head by its largest entry, so that squares stay inside float32."""
    xp = namespace(Z)
    largest = xp.max(xp.abs(Z), axis=(1, 2), keepdims=True)
    scale = xp.where(largest > 0, largest, xp.ones_like(largest))
    return Z / scale, P / scale
