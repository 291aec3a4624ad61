"""Sparse attention vectors (SAV, arXiv 2412.00142): a few good heads, one vote each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, namespace, to_numpy
from calm.fit.checks import check_count


def nearest_prototype(similarity: Array) -> Array:
    """Return the class whose prototype is nearest, for each clip and head.

    Parameters
    ----------
    similarity : array (n, K, C)

    Returns
    -------
    array of int (n, K)

    Examples
    --------
    >>> nearest_prototype(np.array([[[0.1, 0.9], [0.8, 0.2]]]))
    array([[1, 0]])
    """
    return namespace(similarity).argmax(similarity, axis=-1)


def head_hits(
    similarity: Array, y: NDArray[np.integer], weights: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """Count the clips that each head classifies rightly by its nearest prototype.

    Parameters
    ----------
    similarity : array (n, K, C)
    y : array of int (n,)
    weights : array (n,), optional
        How much each clip counts.

    Returns
    -------
    array (K,)

    Examples
    --------
    >>> similarity = np.array([[[0.1, 0.9], [0.8, 0.2]], [[0.3, 0.4], [0.1, 0.2]]])
    >>> head_hits(similarity, np.array([1, 1]))
    array([2., 1.])
    """
    hits = to_numpy(nearest_prototype(similarity)) == y[:, None]
    return (np.ones(len(y)) if weights is None else weights) @ hits


def top_heads_by_hits(hits: NDArray[np.floating], n_heads: int) -> NDArray[np.int64]:
    """Pick the heads with most hits, best first; among equals the first heads.

    Parameters
    ----------
    hits : array (K,)
    n_heads : int
        How many to keep; all when there are fewer.

    Returns
    -------
    array of int (min(n_heads, K),)

    Raises
    ------
    ValueError
        If ``n_heads`` is below one.

    Examples
    --------
    >>> top_heads_by_hits(np.array([3, 9, 9, 1]), 3)
    array([1, 2, 0])
    """
    check_count("top_heads", n_heads)
    return np.argsort(-hits, kind="stable")[:n_heads]


def sparse_vote(similarity: Array) -> Array:
    """Let each head vote for its nearest prototype.

    Parameters
    ----------
    similarity : array (n, K, C)
        Of the voting heads only.

    Returns
    -------
    array (n, C)
        Number of votes of each class.

    Examples
    --------
    >>> sparse_vote(np.array([[[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]]]))
    array([[1., 2.]])
    """
    xp = namespace(similarity)
    classes = convert_like(similarity, np.arange(similarity.shape[-1]))
    votes = nearest_prototype(similarity)[..., None] == classes
    return xp.sum(xp.astype(votes, similarity.dtype), axis=1)


#: How much of a share of votes the order of similarities may add up to: not seen, but far above rounding in float32.
_SHARE_OF_ORDER = 1e-3


def vote_with_tie_break(similarity: Array) -> Array:
    """Count votes, and settle ties by the mean similarity.

    What is added to the votes of a class is its place in the order of mean similarities, scaled: differences between
    the means themselves would be lost beside hundreds of votes in float32.

    Parameters
    ----------
    similarity : array (n, K, C)
        Of the voting heads only.

    Returns
    -------
    array (n, C)
        Less than half a vote more than :func:`sparse_vote` gives, and a thousandth of all votes at most.

    Examples
    --------
    A vote for each class; the second head is surer:

    >>> vote_with_tie_break(np.array([[[0.5, 0.4], [0.1, 0.9]]])).round(4)
    array([[1.   , 1.001]])
    """
    xp = namespace(similarity)
    _, heads, classes = similarity.shape
    best_first = xp.argsort(-xp.mean(similarity, axis=1), axis=1)  # of equal ones, the first
    behind = classes - 1 - xp.argsort(best_first, axis=1)
    step = min(_SHARE_OF_ORDER * heads, 0.5) / classes
    return sparse_vote(similarity) + step * xp.astype(behind, similarity.dtype)
