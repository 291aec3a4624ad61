"""How far each head can be trusted for each class."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from calm.fit.arrays import Array, convert_like, namespace
from calm.fit.checks import check_choice, check_not_negative
from calm.fit.posterior import posterior

PublishedScheme = Literal["margin", "raw_margin", "probability", "brier"]
Scheme = Literal["separation", "margin", "raw_margin", "probability", "brier"]
#: Scores of a posterior, as published.
PUBLISHED_SCHEMES: tuple[PublishedScheme, ...] = get_args(PublishedScheme)
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


def clip_reliability(similarity: Array, y: NDArray[np.integer], scheme: Scheme, temperature: float = 0.07) -> Array:
    """Score each head on each labelled clip; the class means of these are the reliabilities.

    With ``s`` the cosine similarity, ``p = softmax_c(s / τ)`` and ``y`` the true class (all but the first from CALM,
    arXiv 2602.07077):

    ==============  ==========================================
    ``separation``  ``s_y − mean_{c≠y} s_c``; no temperature
    ``margin``      ``max(0, p_y − max_{c≠y} p_c)``
    ``raw_margin``  ``p_y − max_{c≠y} p_c``
    ``probability`` ``p_y``
    ``brier``       ``2 p_y − Σ_c p_c²``
    ==============  ==========================================

    The separation of a head that tells nothing is zero on average when clips are left out of their prototypes, however
    few they are; that of the others is not (a maximum of noise is above zero).

    Parameters
    ----------
    similarity : array (n, K, C)
    y : array of int (n,)
        True classes.
    scheme : {"separation", "margin", "raw_margin", "probability", "brier"}
    temperature : float
        τ.

    Returns
    -------
    array (n, K)

    Raises
    ------
    ValueError
        If the scheme is none of the five, or there is a single class to tell apart.

    Examples
    --------
    >>> s = np.log([[[0.7, 0.2, 0.1]]])
    >>> {scheme: clip_reliability(s, np.array([0]), scheme, 1.0).round(2).item() for scheme in SCHEMES}
    {'separation': 1.6, 'margin': 0.5, 'raw_margin': 0.5, 'probability': 0.7, 'brier': 0.86}
    """
    check_choice("reliability", scheme, SCHEMES)
    if scheme == "separation":
        return _separation(similarity, y)
    return score_posterior(posterior(similarity, temperature), y, scheme)


def score_posterior(p: Array, y: NDArray[np.integer], scheme: PublishedScheme) -> Array:
    """Score posteriors ``(n, K, C)`` by one of the published schemes; see :func:`clip_reliability`."""
    xp = namespace(p)
    rows, own_class = convert_like(p, np.arange(len(y))), convert_like(p, y)
    own = p[rows, :, own_class]
    if scheme == "probability":
        return own
    if scheme == "brier":
        return 2 * own - xp.sum(p * p, axis=-1)
    if p.shape[-1] < 2:
        raise ValueError("a margin needs at least two classes")
    others = p + 0.0
    others[rows, :, own_class] = -xp.inf
    margin = own - xp.max(others, axis=-1)
    return xp.clip(margin, 0.0, None) if scheme == "margin" else margin


def _separation(similarity: Array, y: NDArray[np.integer]) -> Array:
    classes = similarity.shape[-1]
    if classes < 2:
        raise ValueError("a separation needs at least two classes")
    own = similarity[convert_like(similarity, np.arange(len(y))), :, convert_like(similarity, y)]
    total = namespace(similarity).sum(similarity, axis=-1)
    return own - (total - own) / (classes - 1)


def shrink_reliability(
    reliability: NDArray[np.floating], counts: NDArray[np.floating], strength: float
) -> NDArray[np.floating]:
    """Pull the reliabilities of classes with few clips toward the mean of all.

    ``r̂ = n_c/(n_c+α)·r + α/(n_c+α)·mean(r)``, the mean taken over all heads and classes (CALM, arXiv 2602.07077).

    Parameters
    ----------
    reliability : array (K, C)
    counts : array of int (C,)
        Support clips of each class.
    strength : float
        α ≥ 0, in clips: at ``α = n_c`` a class stands half way.

    Returns
    -------
    array (K, C)

    Raises
    ------
    ValueError
        If the strength is below zero.

    Examples
    --------
    >>> shrink_reliability(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([2, 6]), 2.0)
    array([[0.75 , 0.125],
           [0.25 , 0.875]])
    """
    check_not_negative("shrinkage", strength)
    if strength == 0:
        return reliability
    kept = counts / (counts + strength)
    return kept * reliability + (1 - kept) * reliability.mean()
