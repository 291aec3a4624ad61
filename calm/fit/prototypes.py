"""Class prototypes of each head, and the similarity of a clip to prototypes built without it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.fit.posterior import cosine_similarity, unit_vectors


def class_counts(y: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    """Count the clips of each class, ``(C,)``.

    >>> class_counts(np.array([0, 0, 2]), 3)
    array([2, 0, 1])
    """
    return np.bincount(y, minlength=n_classes).astype(np.int64)


def class_sums(
    values: NDArray, y: NDArray[np.integer], n_classes: int, out: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Sum ``values`` over the clips of each class.

    Sums and counts are all that prototypes and reliabilities need, so clips can come in blocks and their sums be
    added up.

    Parameters
    ----------
    values : array (n, ...)
    y : array of int (n,)
        Class number of each clip.
    n_classes : int
    out : array of float64 (C, ...), optional
        Sums so far, added to in place.

    Returns
    -------
    array of float64 (C, ...)
        Zero for a class without clips.

    Examples
    --------
    >>> class_sums(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([0, 1, 0]), 2)
    array([[6., 8.],
           [3., 4.]])
    """
    sums = np.zeros((n_classes, *values.shape[1:]), dtype=np.float64) if out is None else out
    for c in np.unique(y):
        sums[c] += values[y == c].sum(axis=0, dtype=np.float64)
    return sums


def class_means(X: NDArray, y: NDArray[np.integer], n_classes: int) -> NDArray[np.float64]:
    """Compute the prototype ``μ[c, h]``, the mean head vector of each class (CALM, arXiv 2602.07077).

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors.
    y : array of int (n,)
    n_classes : int

    Returns
    -------
    array of float64 (C, K, D)
        Not normalised. Zero for a class without clips.

    Examples
    --------
    Two heads of one dimension:

    >>> class_means(np.array([[[1.0], [2.0]], [[3.0], [4.0]]]), np.array([0, 0]), 1)
    array([[[2.],
            [3.]]])
    """
    counts = np.maximum(class_counts(y, n_classes), 1)
    return class_sums(X, y, n_classes) / counts[:, None, None]


def leave_one_out_similarity(
    X: NDArray, y: NDArray[np.integer], prototypes: NDArray, counts: NDArray[np.integer]
) -> NDArray:
    """Compute ``cos(x, μ)`` of support clips, each against prototypes built without it.

    Only the prototype of the clip's own class changes, to ``(n_c·μ − x) / (n_c − 1)``: no refit is needed.

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors of support clips, all of them or a block.
    y : array of int (n,)
    prototypes : array (C, K, D)
        Means over *all* support clips.
    counts : array of int (C,)
        Number of support clips behind each prototype.

    Returns
    -------
    array (n, K, C)
        Where a class has one clip, nothing is left of its prototype and its similarity to itself is 0.

    Examples
    --------
    The first clip's own class is left with the second clip, which is orthogonal to it:

    >>> X = np.array([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]])
    >>> y = np.array([0, 0, 1])
    >>> mu = class_means(X, y, 2)
    >>> leave_one_out_similarity(X, y, mu, class_counts(y, 2))[0, 0].round(3)
    array([0.   , 0.707])
    """
    similarity = cosine_similarity(X, prototypes)
    others = counts[y, None, None] * prototypes[y] - X  # proportional to the mean of the others, which is enough
    others[counts[y] < 2] = 0.0  # else rounding would point it anywhere
    own = np.einsum("nkd,nkd->nk", unit_vectors(X), unit_vectors(others))
    similarity[np.arange(len(y)), :, y] = own
    return similarity
