"""Reliability of each head for each class, scored on labelled clips."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, namespace
from calm.fit.checks import check_choice, check_not_negative
from calm.fit.posterior import posterior

PublishedScheme = Literal["margin", "raw_margin", "probability", "brier"]
Scheme = Literal["separation", "margin", "raw_margin", "probability", "brier"]
#: Names of the reliability schemes of the CALM paper, which score a head's posterior.
PUBLISHED_SCHEMES: tuple[PublishedScheme, ...] = get_args(PublishedScheme)
#: Names of all reliability schemes.
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


def clip_reliability(similarity: Array, y: NDArray[np.integer], scheme: Scheme, temperature: float = 0.07) -> Array:
    """Score how well each head classifies each labelled clip.

    The mean of these scores over the clips of a class is the head's reliability for that class.

    Parameters
    ----------
    similarity : array of shape (n_clips, n_heads, n_classes)
        Cosine similarities of labelled clips to prototypes.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    scheme : {"separation", "margin", "raw_margin", "probability", "brier"}
        Formula of the score; see Notes.
    temperature : float, default=0.07
        Softmax temperature τ, above 0. The scheme "separation" does not use it.

    Returns
    -------
    array of shape (n_clips, n_heads)
        Score of each head on each clip. Larger is better.

    Raises
    ------
    ValueError
        If the scheme is unknown, the temperature is not above 0, or there are fewer than two classes.

    See Also
    --------
    calm.fit.leave_one_out_similarity : Compute similarities without leakage from the scored clip.
    calm.fit.class_means : Average the scores of each class.
    calm.fit.shrink_reliability : Shrink the reliabilities of classes with few clips.
    calm.fit.head_weights : Turn reliabilities into weights.

    Notes
    -----
    With cosine similarity ``s``, posterior ``p = softmax_c(s / τ)`` and true class ``y``:

    ===============  ==========================================
    ``separation``   ``s_y − mean_{c≠y} s_c``
    ``margin``       ``max(0, p_y − max_{c≠y} p_c)``
    ``raw_margin``   ``p_y − max_{c≠y} p_c``
    ``probability``  ``p_y``
    ``brier``        ``2 p_y − Σ_c p_c²``
    ===============  ==========================================

    All schemes except "separation" come from CALM (arXiv 2602.07077). With leave-one-out prototypes, the expected
    separation of an uninformative head is 0 for any number of clips. The other schemes have no such fixed zero: the
    maximum of noise, for example, is positive on average.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import SCHEMES, clip_reliability
    >>> s = np.log([[[0.7, 0.2, 0.1]]])
    >>> {scheme: clip_reliability(s, np.array([0]), scheme, 1.0).round(2).item() for scheme in SCHEMES}
    {'separation': 1.6, 'margin': 0.5, 'raw_margin': 0.5, 'probability': 0.7, 'brier': 0.86}
    """
    check_choice("reliability", scheme, SCHEMES)
    if scheme == "separation":
        return _compute_separation(similarity, y)
    return score_posterior(posterior(similarity, temperature), y, scheme)


def score_posterior(p: Array, y: NDArray[np.integer], scheme: PublishedScheme) -> Array:
    """Score the posteriors of labelled clips by one of the published schemes.

    Parameters
    ----------
    p : array of shape (n_clips, n_heads, n_classes)
        Class posterior of each head.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    scheme : {"margin", "raw_margin", "probability", "brier"}
        Formula of the score; see :func:`calm.fit.clip_reliability`.

    Returns
    -------
    array of shape (n_clips, n_heads)
        Score of each head on each clip. Larger is better.

    Raises
    ------
    ValueError
        If the scheme is a margin and there are fewer than two classes.

    See Also
    --------
    calm.fit.clip_reliability : Compute the scores from similarities, with the formulas of all schemes.
    calm.fit.posterior : Compute the posteriors.

    References
    ----------
    CALM, arXiv 2602.07077.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import score_posterior
    >>> p = np.array([[[0.75, 0.25], [0.25, 0.75]]])
    >>> score_posterior(p, np.array([0]), "raw_margin")
    array([[ 0.5, -0.5]])
    """
    xp = namespace(p)
    rows, true_class = convert_like(p, np.arange(len(y))), convert_like(p, y)
    true_p = p[rows, :, true_class]
    if scheme == "probability":
        return true_p
    if scheme == "brier":
        return 2 * true_p - xp.sum(p * p, axis=-1)
    if p.shape[-1] < 2:
        raise ValueError(f"reliability={scheme!r} needs at least two classes, got {p.shape[-1]}")
    others = p + 0.0
    others[rows, :, true_class] = -xp.inf
    margin = true_p - xp.max(others, axis=-1)
    return xp.clip(margin, 0.0, None) if scheme == "margin" else margin


def _compute_separation(similarity: Array, y: NDArray[np.integer]) -> Array:
    """Subtract the mean similarity to the other classes from the similarity to the true class."""
    n_classes = similarity.shape[-1]
    if n_classes < 2:
        raise ValueError(f"reliability='separation' needs at least two classes, got {n_classes}")
    true_similarity = similarity[convert_like(similarity, np.arange(len(y))), :, convert_like(similarity, y)]
    total = namespace(similarity).sum(similarity, axis=-1)
    return true_similarity - (total - true_similarity) / (n_classes - 1)


def shrink_reliability(
    reliability: NDArray[np.floating], counts: NDArray[np.floating], strength: float
) -> NDArray[np.floating]:
    """Shrink reliabilities toward their overall mean, more for classes with few clips.

    Parameters
    ----------
    reliability : array of shape (n_heads, n_classes)
        Reliability of each head for each class.
    counts : array of shape (n_classes,)
        Number of support clips of each class.
    strength : float
        Shrinkage strength α in clips, 0 or above. A class with α clips moves half of the way to the mean.

    Returns
    -------
    array of shape (n_heads, n_classes)
        ``n_c/(n_c + α)·r + α/(n_c + α)·mean(r)``, with the mean over all heads and classes.

    Raises
    ------
    ValueError
        If the strength is below 0.

    See Also
    --------
    calm.fit.clip_reliability : Score heads on labelled clips.
    calm.fit.head_weights : Turn reliabilities into weights.

    References
    ----------
    CALM, arXiv 2602.07077.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import shrink_reliability
    >>> shrink_reliability(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([2, 6]), 2.0)
    array([[0.75 , 0.125],
           [0.25 , 0.875]])
    """
    check_not_negative("shrinkage", strength)
    if strength == 0:
        return reliability
    kept = counts / (counts + strength)
    return kept * reliability + (1 - kept) * reliability.mean()
