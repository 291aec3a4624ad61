"""Counts, means and scatter of classes: the sufficient statistics of prototypes and whitening.

The statistics of two sets of clips merge into those of their union. Clips can therefore come in batches and need not
stay in memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, namespace, to_float64


@dataclass(frozen=True)
class ClassStatistics:
    """Counts, means and pooled within-class scatter of head vectors.

    Parameters
    ----------
    counts : array of float64 of shape (n_classes,)
        Number of clips of each class, or the sum of their sample weights.
    means : array of shape (n_classes, n_heads, head_dim)
        Prototypes μ, not scaled to unit length. They are zero for a class without clips.
    scatter : array of shape (n_heads, head_dim, head_dim) or None
        Pooled within-class scatter ``Σ_i (x_i − μ_y)(x_i − μ_y)ᵀ`` of each head. None if it was not computed.

    See Also
    --------
    calm.fit.class_statistics : Compute the statistics of clips.
    calm.fit.merge_statistics : Merge the statistics of two sets of clips.
    calm.fit.whitening : Build a metric from the statistics.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import ClassStatistics
    >>> stats = ClassStatistics(np.array([2.0]), np.zeros((1, 3, 4)), None)
    >>> stats.means.shape
    (1, 3, 4)
    """

    counts: NDArray[np.float64]
    means: Array
    scatter: Array


def class_counts(
    y: NDArray[np.integer], n_classes: int, weights: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Count the clips of each class, or sum their sample weights.

    Parameters
    ----------
    y : array of int of shape (n_clips,)
        Class number of each clip.
    n_classes : int
        Number of classes.
    weights : array of shape (n_clips,), default=None
        Sample weight of each clip. None gives every clip weight 1.

    Returns
    -------
    array of float64 of shape (n_classes,)
        Count of each class.

    See Also
    --------
    calm.fit.class_means : Compute the mean of each class.
    calm.fit.class_statistics : Compute counts, means and scatter.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import class_counts
    >>> class_counts(np.array([0, 0, 2]), 3)
    array([2., 0., 1.])
    """
    return np.bincount(y, weights=weights, minlength=n_classes).astype(np.float64)


def class_means(X: Array, y: NDArray[np.integer], n_classes: int, weights: NDArray[np.floating] | None = None) -> Array:
    """Compute the mean of an array over the clips of each class.

    The class means of head vectors are the prototypes ``μ[c, h]``. The class means of clip scores are the
    reliabilities.

    Parameters
    ----------
    X : array of shape (n_clips, ...)
        Values of each clip, for example head vectors.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    n_classes : int
        Number of classes.
    weights : array of shape (n_clips,), default=None
        Sample weight of each clip. None gives every clip weight 1.

    Returns
    -------
    array of float64 of shape (n_classes, ...)
        Mean of each class, and zero for a class without clips.

    See Also
    --------
    calm.fit.class_statistics : Compute counts, means and scatter.
    calm.fit.cosine_similarity : Compare head vectors with prototypes.
    calm.fit.clip_reliability : Compute the scores of clips.

    References
    ----------
    CALM, arXiv 2602.07077.

    Examples
    --------
    Two heads of one dimension:

    >>> import numpy as np
    >>> from calm.fit import class_means
    >>> class_means(np.array([[[1.0], [2.0]], [[3.0], [4.0]]]), np.array([0, 0]), 1)
    array([[[2.],
            [3.]]])
    """
    xp, order = namespace(X), np.argsort(y, kind="stable")
    by_class = to_float64(X[convert_like(X, order)])
    if weights is not None:
        clip_weights = convert_like(by_class, weights[order], by_class.dtype)
        by_class *= xp.reshape(clip_weights, (-1, *[1] * (X.ndim - 1)))
    ends = np.cumsum(np.bincount(y, minlength=n_classes)).tolist()
    sums = [xp.sum(by_class[start:end], axis=0) for start, end in zip([0, *ends], ends, strict=False)]
    counts = class_counts(y, n_classes, weights)
    inverse_counts = convert_like(by_class, 1 / np.where(counts > 0, counts, 1.0), by_class.dtype)
    return xp.stack(sums) * xp.reshape(inverse_counts, (-1, *[1] * (X.ndim - 1)))


def class_statistics(
    X: Array,
    y: NDArray[np.integer],
    n_classes: int,
    weights: NDArray[np.floating] | None = None,
    *,
    scatter: bool = True,
) -> ClassStatistics:
    """Compute counts, means and pooled within-class scatter of head vectors.

    Parameters
    ----------
    X : array of shape (n_clips, n_heads, head_dim)
        Head vectors.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    n_classes : int
        Number of classes.
    weights : array of shape (n_clips,), default=None
        Sample weight of each clip. None gives every clip weight 1.
    scatter : bool, default=True
        Whether to compute the scatter. Without whitening only the means are needed.

    Returns
    -------
    ClassStatistics
        Statistics in float64.

    See Also
    --------
    calm.fit.merge_statistics : Merge the statistics of two sets of clips.
    calm.fit.whitening : Build a metric from the statistics.
    calm.fit.class_means : Compute the means only.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import class_statistics
    >>> stats = class_statistics(np.array([[[1.0]], [[3.0]], [[7.0]]]), np.array([0, 0, 1]), 2)
    >>> stats.means[:, 0, 0], stats.scatter[0]
    (array([2., 7.]), array([[2.]]))
    """
    xp, wide = namespace(X), to_float64(X)
    means = class_means(wide, y, n_classes, weights)
    pooled = None
    if scatter:
        residual = xp.permute_dims(wide - means[convert_like(X, y)], (1, 0, 2))  # (n_heads, n_clips, head_dim)
        weighted = residual if weights is None else residual * convert_like(wide, weights, wide.dtype)[None, :, None]
        pooled = xp.matmul(xp.permute_dims(weighted, (0, 2, 1)), residual)
    return ClassStatistics(class_counts(y, n_classes, weights), means, pooled)


def merge_statistics(first: ClassStatistics, second: ClassStatistics) -> ClassStatistics:
    """Merge the statistics of two sets of clips into those of their union.

    Parameters
    ----------
    first, second : ClassStatistics
        Statistics of two disjoint sets of clips, with the same classes and heads.

    Returns
    -------
    ClassStatistics
        Statistics of all clips. The scatter is None if either scatter is None.

    See Also
    --------
    calm.fit.class_statistics : Compute the statistics of clips.
    calm.CALMClassifier.partial_fit : Add clips to a fitted classifier in this way.

    References
    ----------
    Chan, Golub and LeVeque, "Algorithms for computing the sample variance: analysis and recommendations", The American
    Statistician 37(3), 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import class_statistics, merge_statistics
    >>> a = class_statistics(np.array([[[1.0]], [[2.0]]]), np.array([0, 0]), 1)
    >>> b = class_statistics(np.array([[[6.0]]]), np.array([0]), 1)
    >>> both = merge_statistics(a, b)
    >>> both.means.item(), both.scatter.item()
    (3.0, 14.0)
    """
    counts = first.counts + second.counts
    second_share = second.counts / np.where(counts > 0, counts, 1.0)
    step = second.means - first.means
    means = first.means + convert_like(step, second_share, step.dtype)[:, None, None] * step
    if first.scatter is None or second.scatter is None:
        return ClassStatistics(counts, means, None)
    xp = namespace(step)
    # The means add scatter of their own: n₁·n₂/(n₁ + n₂)·(μ₂ − μ₁)(μ₂ − μ₁)ᵀ for each class.
    factor = convert_like(step, np.sqrt(first.counts * second_share), step.dtype)
    scaled_step = xp.permute_dims(step * factor[:, None, None], (1, 0, 2))
    between = xp.matmul(xp.permute_dims(scaled_step, (0, 2, 1)), scaled_step)
    return ClassStatistics(counts, means, first.scatter + second.scatter + between)
