"""Specialization: how differently the heads of a model classify different classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array
from calm.fit.leave_one_out import leave_one_out_similarity
from calm.fit.statistics import class_counts, class_means


def head_recall(X: Array, y: NDArray[np.integer]) -> NDArray[np.float64]:
    """Compute the leave-one-out recall of each head for each class.

    A head alone predicts the class of the nearest class mean. Each clip is left out of the mean of its own class.
    Recalls are comparable between models. Similarities are not, because their level differs between models.

    Parameters
    ----------
    X : array of shape (n_clips, n_heads, head_dim)
        Head vectors.
    y : array of int of shape (n_clips,)
        Class number of each clip, ``0 … C-1``, with at least two clips for each class.

    Returns
    -------
    array of float64 of shape (n_heads, n_classes)
        Fraction of the clips of each class that the head classifies correctly.

    Raises
    ------
    ValueError
        If a class has fewer than two clips.

    See Also
    --------
    calm.fit.head_specialization : Summarise how recalls differ between heads and classes.
    calm.fit.head_hits : Count hits over all classes.
    calm.fit.leave_one_out_similarity : Compute the similarities that this function compares.

    Examples
    --------
    The first head separates the classes, the second does not:

    >>> import numpy as np
    >>> from calm.fit import head_recall
    >>> good, bad = [[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [[1, 0], [0, 1], [1, 0], [0, 1]]
    >>> head_recall(np.stack([good, bad], axis=1), np.array([0, 0, 1, 1]))
    array([[1., 1.],
           [0., 0.]])
    """
    y = np.asarray(y)
    counts = class_counts(y, int(y.max()) + 1)
    _check_clips_per_class(counts, 2)
    similarity = leave_one_out_similarity(X, y, class_means(X, y, len(counts)), counts)
    is_hit = np.asarray(similarity.argmax(axis=-1) == y[:, None])
    return np.stack([is_hit[y == c].mean(axis=0) for c in range(len(counts))], axis=1)


def head_specialization(X: NDArray[np.floating], y: NDArray[np.integer], *, n_splits: int = 20, seed: int = 0) -> float:
    """Measure how strongly heads specialize in classes.

    The measure is the standard deviation, without sampling noise, of the interaction between heads and classes in a
    table of recalls. Heads that are good or bad for all classes do not raise it. Neither do classes that are easy or
    hard for all heads.

    Parameters
    ----------
    X : array of shape (n_clips, n_heads, head_dim)
        Head vectors.
    y : array of int of shape (n_clips,)
        Class number of each clip, ``0 … C-1``, with at least four clips for each class.
    n_splits : int, default=20
        Number of random splits of each class into halves.
    seed : int, default=0
        Seed of the random splits.

    Returns
    -------
    float
        Standard deviation in log odds of recall; 0 if sampling noise explains all differences.

    Raises
    ------
    ValueError
        If a class has fewer than four clips, or there are fewer than two classes or heads.

    See Also
    --------
    calm.fit.head_recall : Compute the table of recalls.
    calm.fit.head_weights : Compute weights that make use of specialized heads.

    Notes
    -----
    1. Each class is split at random into two halves, and recall is computed in each half by leave-one-out.
    2. ``h`` hits among ``n`` clips become the log odds ``log((h + ½)/(n − h + ½))``. In log odds, the step from 50 to
       68 percent is about as large as the step from 90 to 95 percent.
    3. The mean of each head and of each class is subtracted, as in a two-way analysis of variance. The interaction is
       left.
    4. The interactions of the two halves are multiplied. Their sampling noise is independent, so that the mean product,
       per degree of freedom, estimates the variance of what both halves share.
    5. The result is the square root of the mean over all splits, or 0 if that mean is negative.

    Examples
    --------
    Each of the two heads separates one class from the other two:

    >>> import numpy as np
    >>> from calm.fit import head_specialization
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
        raise ValueError(f"specialization needs at least two classes and two heads, got {len(counts)} and {X.shape[1]}")
    _check_clips_per_class(counts, 4)
    rng, degrees = np.random.default_rng(seed), (X.shape[1] - 1) * (len(counts) - 1)
    covariances = []
    for _ in range(n_splits):
        in_first_half = np.zeros(len(y), dtype=bool)
        for c in range(len(counts)):
            in_first_half[rng.permutation(np.flatnonzero(y == c))[: counts[c] // 2]] = True
        first, second = (_interaction(_log_odds(X[half], y[half])) for half in (in_first_half, ~in_first_half))
        covariances.append((first * second).sum() / degrees)
    return float(np.sqrt(max(0.0, np.mean(covariances))))


def _check_clips_per_class(counts: NDArray[np.number], at_least: int) -> None:
    if counts.min() < at_least:
        smallest = int(counts.argmin())
        raise ValueError(f"every class needs at least {at_least} clips; class {smallest} has {int(counts[smallest])}")


def _log_odds(X: NDArray[np.floating], y: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the log odds of recall, of shape (n_heads, n_classes); the ½ keeps them finite."""
    counts = np.bincount(y)
    hits = head_recall(X, y) * counts
    return np.asarray(np.log(hits + 0.5) - np.log(counts - hits + 0.5))


def _interaction(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract the row and column effects from a table."""
    rows, columns = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    return table - rows - columns + table.mean()
