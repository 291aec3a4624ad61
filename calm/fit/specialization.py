"""How differently the heads of a model serve different classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array
from calm.fit.leave_one_out import leave_one_out_similarity
from calm.fit.statistics import class_counts, class_means


def head_recall(X: Array, y: NDArray[np.integer]) -> NDArray[np.float64]:
    """Count how often each head, alone, finds a class's clips nearest to the mean of their own class.

    Each clip is left out of that mean. Unlike similarities, which are larger for some models than for others, this
    compares across models.

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors.
    y : array of int (n,)
        Classes ``0 … C-1``, two clips of each at least.

    Returns
    -------
    array (K, C)
        Between 0 and 1.

    Raises
    ------
    ValueError
        If a class has fewer than two clips.

    Examples
    --------
    A head that tells the classes apart, and one that does not:

    >>> tells, does_not = [[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [[1, 0], [0, 1], [1, 0], [0, 1]]
    >>> head_recall(np.stack([tells, does_not], axis=1), np.array([0, 0, 1, 1]))
    array([[1., 1.],
           [0., 0.]])
    """
    y = np.asarray(y)
    counts = class_counts(y, int(y.max()) + 1)
    if counts.min() < 2:
        raise ValueError(f"every class needs two clips at least; class {int(counts.argmin())} has {int(counts.min())}")
    similarity = leave_one_out_similarity(X, y, class_means(X, y, len(counts)), counts)
    hits = np.asarray(similarity.argmax(axis=-1) == y[:, None])
    return np.stack([hits[y == c].mean(axis=0) for c in range(len(counts))], axis=1)


def head_specialization(X: NDArray[np.floating], y: NDArray[np.integer], *, halvings: int = 20, seed: int = 0) -> float:
    """Measure how far heads specialise: by how much a head's recall of a class differs from what is to be expected.

    Recall is taken in log odds, ``log((h + ½)/(n − h + ½))`` of ``h`` hits among ``n`` clips: between 90 and 95 percent
    there is as much to gain as between 50 and 68. Expected is the head's mean over classes, plus the class's mean over
    heads, less the mean of all: heads that are good or bad at everything, and classes that are easy or hard for every
    head, count for nothing. What is left in one half of the clips is multiplied by what is left in the other, so that
    chance, which differs between halves, counts for nothing either; the mean product is the variance of what both
    share, and its root is returned.

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors.
    y : array of int (n,)
        Classes ``0 … C-1``, four clips of each at least.
    halvings : int
        Over how many random halvings of each class the product is averaged.
    seed : int

    Returns
    -------
    float
        A standard deviation of log odds; 0 where chance explains all.

    Raises
    ------
    ValueError
        If a class has fewer than four clips, or there are fewer than two classes or heads.

    Examples
    --------
    Two heads, each of which hears one class of two apart from all else:

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], 20)
    >>> X = rng.normal(size=(60, 2, 8))
    >>> X[y == 0, 0], X[y == 1, 1] = X[y == 0, 0] + 9, X[y == 1, 1] + 9
    >>> round(head_specialization(X, y), 1)
    2.7
    """
    y = np.asarray(y)
    counts = np.bincount(y)
    if len(counts) < 2 or X.shape[1] < 2:
        raise ValueError(f"specialization needs two classes and two heads, got {len(counts)} and {X.shape[1]}")
    if counts.min() < 4:
        raise ValueError(f"every class needs four clips at least; class {int(counts.argmin())} has {int(counts.min())}")
    rng, free = np.random.default_rng(seed), (X.shape[1] - 1) * (len(counts) - 1)
    products = []
    for _ in range(halvings):
        first = np.zeros(len(y), dtype=bool)
        for c in range(len(counts)):
            first[rng.permutation(np.flatnonzero(y == c))[: counts[c] // 2]] = True
        one, other = (_interaction(_log_odds(X[half], y[half])) for half in (first, ~first))
        products.append((one * other).sum() / free)
    return float(np.sqrt(max(0.0, np.mean(products))))


def _log_odds(X: NDArray[np.floating], y: NDArray[np.integer]) -> NDArray[np.float64]:
    counts = np.bincount(y)
    hits = head_recall(X, y) * counts
    return np.asarray(np.log(hits + 0.5) - np.log(counts - hits + 0.5))


def _interaction(table: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    return table - rows - columns + table.mean()
