"""Counts, means and scatter of classes: all that prototypes and whitening need, and they add up.

Statistics of two sets of clips merge into those of their union, so clips can come in parts and need not be kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, namespace, to_float64


@dataclass(frozen=True)
class ClassStatistics:
    """Sufficient statistics of some heads over some clips."""

    counts: NDArray[np.float64]  #: (C,) clips of each class, or the sum of their weights
    means: Array  #: (C, K, D) prototypes μ, not normalised; zero for a class without clips
    scatter: Array  #: (K, D, D) Σ (x − μ_y)(x − μ_y)ᵀ, pooled within classes; None if left out


def class_counts(
    y: NDArray[np.integer], n_classes: int, weights: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Count the clips of each class, ``(C,)``, or sum up their weights.

    >>> class_counts(np.array([0, 0, 2]), 3)
    array([2., 0., 1.])
    """
    return np.bincount(y, weights=weights, minlength=n_classes).astype(np.float64)


def class_means(X: Array, y: NDArray[np.integer], n_classes: int, weights: NDArray[np.floating] | None = None) -> Array:
    """Compute the mean of ``X`` over the clips of each class.

    Of head vectors, these are the prototypes ``μ[c, h]`` (CALM, arXiv 2602.07077); of clips' scores, reliabilities.

    Parameters
    ----------
    X : array (n, ...)
    y : array of int (n,)
        Class number of each clip.
    n_classes : int
    weights : array (n,), optional
        How much each clip counts.

    Returns
    -------
    array of float64 (C, ...)
        Zero for a class without clips.

    Examples
    --------
    Two heads of one dimension:

    >>> class_means(np.array([[[1.0], [2.0]], [[3.0], [4.0]]]), np.array([0, 0]), 1)
    array([[[2.],
            [3.]]])
    """
    xp, order = namespace(X), np.argsort(y, kind="stable")
    in_a_row = to_float64(X[convert_like(X, order)])
    if weights is not None:
        of_clips = convert_like(in_a_row, weights[order], in_a_row.dtype)
        in_a_row *= xp.reshape(of_clips, (-1, *[1] * (X.ndim - 1)))
    ends = np.cumsum(np.bincount(y, minlength=n_classes)).tolist()
    sums = [xp.sum(in_a_row[start:end], axis=0) for start, end in zip([0, *ends], ends, strict=False)]
    counts = class_counts(y, n_classes, weights)
    share = convert_like(in_a_row, 1 / np.where(counts > 0, counts, 1.0), in_a_row.dtype)
    return xp.stack(sums) * xp.reshape(share, (-1, *[1] * (X.ndim - 1)))


def class_statistics(
    X: Array,
    y: NDArray[np.integer],
    n_classes: int,
    weights: NDArray[np.floating] | None = None,
    *,
    scatter: bool = True,
) -> ClassStatistics:
    """Compute counts, means and pooled within-class scatter.

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors.
    y : array of int (n,)
    n_classes : int
    weights : array (n,), optional
    scatter : bool
        Leave it out where only means are needed.

    Returns
    -------
    ClassStatistics
        In float64.

    Examples
    --------
    >>> stats = class_statistics(np.array([[[1.0]], [[3.0]], [[7.0]]]), np.array([0, 0, 1]), 2)
    >>> stats.means[:, 0, 0], stats.scatter[0]
    (array([2., 7.]), array([[2.]]))
    """
    xp, wide = namespace(X), to_float64(X)
    means = class_means(wide, y, n_classes, weights)
    pooled = None
    if scatter:
        residual = xp.permute_dims(wide - means[convert_like(X, y)], (1, 0, 2))  # (K, n, D)
        weighted = residual if weights is None else residual * convert_like(wide, weights, wide.dtype)[None, :, None]
        pooled = xp.matmul(xp.permute_dims(weighted, (0, 2, 1)), residual)
    return ClassStatistics(class_counts(y, n_classes, weights), means, pooled)


def merge_statistics(one: ClassStatistics, other: ClassStatistics) -> ClassStatistics:
    """Return the statistics of two sets of clips together, from theirs alone (Chan, Golub and LeVeque, 1983).

    >>> a = class_statistics(np.array([[[1.0]], [[2.0]]]), np.array([0, 0]), 1)
    >>> b = class_statistics(np.array([[[6.0]]]), np.array([0]), 1)
    >>> both = merge_statistics(a, b)
    >>> both.means.item(), both.scatter.item()
    (3.0, 14.0)
    """
    counts = one.counts + other.counts
    share = other.counts / np.where(counts > 0, counts, 1.0)
    step = other.means - one.means
    means = one.means + convert_like(step, share, step.dtype)[:, None, None] * step
    if one.scatter is None or other.scatter is None:
        return ClassStatistics(counts, means, None)
    xp = namespace(step)
    apart = xp.permute_dims(
        step * convert_like(step, np.sqrt(one.counts * share), step.dtype)[:, None, None], (1, 0, 2)
    )
    between = xp.matmul(xp.permute_dims(apart, (0, 2, 1)), apart)
    return ClassStatistics(counts, means, one.scatter + other.scatter + between)
