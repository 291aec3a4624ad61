"""Sparse attention vectors (SAV, arXiv 2412.00142): the most accurate heads cast one vote each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, namespace, to_numpy
from calm.fit.checks import check_count

#: Maximum total of the tie-break terms as a fraction of all votes: too small to change a majority, far above the
#: rounding error of float32.
_TIE_BREAK_SHARE = 1e-3


def nearest_prototype(similarity: Array) -> Array:
    """Find the class of the nearest prototype for each clip and head.

    Parameters
    ----------
    similarity : array of shape (n_clips, n_heads, n_classes)
        Cosine similarities of clips to prototypes.

    Returns
    -------
    array of int of shape (n_clips, n_heads)
        Class number with the highest similarity.

    See Also
    --------
    calm.fit.cosine_similarity : Compute the similarities.
    calm.fit.sparse_vote : Count these decisions as votes.
    calm.fit.head_hits : Count the decisions that are right.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import nearest_prototype
    >>> nearest_prototype(np.array([[[0.1, 0.9], [0.8, 0.2]]]))
    array([[1, 0]])
    """
    return namespace(similarity).argmax(similarity, axis=-1)


def head_hits(
    similarity: Array, y: NDArray[np.integer], weights: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """Count the clips that each head classifies correctly by its nearest prototype.

    Parameters
    ----------
    similarity : array of shape (n_clips, n_heads, n_classes)
        Cosine similarities of labelled clips to prototypes.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    weights : array of shape (n_clips,), default=None
        Sample weight of each clip. None gives every clip weight 1.

    Returns
    -------
    array of shape (n_heads,)
        Number of hits of each head, or the sum of their weights.

    See Also
    --------
    calm.fit.top_heads_by_hits : Select the heads with the most hits.
    calm.fit.head_recall : Compute the recall of each head for each class.

    References
    ----------
    SAV, arXiv 2412.00142.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import head_hits
    >>> similarity = np.array([[[0.1, 0.9], [0.8, 0.2]], [[0.3, 0.4], [0.1, 0.2]]])
    >>> head_hits(similarity, np.array([1, 1]))
    array([2., 1.])
    """
    hits = to_numpy(nearest_prototype(similarity)) == y[:, None]
    return (np.ones(len(y)) if weights is None else weights) @ hits


def top_heads_by_hits(hits: NDArray[np.floating], n_heads: int) -> NDArray[np.int64]:
    """Select the heads with the most hits, best first.

    Parameters
    ----------
    hits : array of shape (n_all_heads,)
        Number of hits of each head.
    n_heads : int
        Number of heads to select, at least 1. All heads are selected if there are fewer.

    Returns
    -------
    array of int of shape (min(n_heads, n_all_heads),)
        Head indices. Heads with equally many hits are in ascending order.

    Raises
    ------
    ValueError
        If ``n_heads`` is below 1.

    See Also
    --------
    calm.fit.head_hits : Count the hits.
    calm.fit.sparse_vote : Let the selected heads vote.

    References
    ----------
    SAV, arXiv 2412.00142.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import top_heads_by_hits
    >>> top_heads_by_hits(np.array([3, 9, 9, 1]), 3)
    array([1, 2, 0])
    """
    check_count("top_heads", n_heads)
    return np.argsort(-hits, kind="stable")[:n_heads]


def sparse_vote(similarity: Array) -> Array:
    """Count one vote of each head for its nearest prototype.

    Parameters
    ----------
    similarity : array of shape (n_clips, n_heads, n_classes)
        Cosine similarities of clips to prototypes, in the voting heads only.

    Returns
    -------
    array of shape (n_clips, n_classes)
        Number of votes for each class.

    See Also
    --------
    calm.fit.vote_with_tie_break : Break ties by the mean similarity.
    calm.fit.soft_vote : Combine posteriors by weights.

    References
    ----------
    SAV, arXiv 2412.00142.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import sparse_vote
    >>> sparse_vote(np.array([[[0.1, 0.9], [0.8, 0.2], [0.3, 0.4]]]))
    array([[1., 2.]])
    """
    xp = namespace(similarity)
    classes = convert_like(similarity, np.arange(similarity.shape[-1]))
    votes = nearest_prototype(similarity)[..., None] == classes
    return xp.sum(xp.astype(votes, similarity.dtype), axis=1)


def vote_with_tie_break(similarity: Array) -> Array:
    """Count one vote of each head, and break ties by the mean similarity.

    Parameters
    ----------
    similarity : array of shape (n_clips, n_heads, n_classes)
        Cosine similarities of clips to prototypes, in the voting heads only.

    Returns
    -------
    array of shape (n_clips, n_classes)
        Votes for each class plus a tie-break term. The term is below half a vote, and at most a thousandth of the
        number of heads.

    See Also
    --------
    calm.fit.sparse_vote : Count the votes only.
    calm.fit.soft_vote : Combine posteriors by weights.

    Notes
    -----
    The tie-break term is proportional to the rank of the class by mean similarity. The mean itself would not do: in
    float32, small differences between means are lost when they are added to hundreds of votes.

    Examples
    --------
    Each class has one vote. The second head prefers its class by a larger difference:

    >>> import numpy as np
    >>> from calm.fit import vote_with_tie_break
    >>> vote_with_tie_break(np.array([[[0.5, 0.4], [0.1, 0.9]]])).round(4)
    array([[1.   , 1.001]])
    """
    xp = namespace(similarity)
    _, n_heads, n_classes = similarity.shape
    best_first = xp.argsort(-xp.mean(similarity, axis=1), axis=1)  # stable: ties keep the class order
    rank_from_last = n_classes - 1 - xp.argsort(best_first, axis=1)
    step = min(_TIE_BREAK_SHARE * n_heads, 0.5) / n_classes
    return sparse_vote(similarity) + step * xp.astype(rank_from_last, similarity.dtype)
