"""How far each head can be trusted for each class."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from calm.fit.checks import check_not_negative

Scheme = Literal["margin", "raw_margin", "probability", "brier"]
SCHEMES: tuple[str, ...] = get_args(Scheme)


def clip_reliability(posterior: NDArray, y: NDArray[np.integer], scheme: Scheme) -> NDArray:
    """Score the posterior of each head on each labelled clip; the class means of these are the reliabilities.

    With ``p_y`` the posterior of the true class (CALM, arXiv 2602.07077):

    ==============  =====================================
    ``margin``      ``max(0, p_y − max_{c≠y} p_c)``
    ``raw_margin``  ``p_y − max_{c≠y} p_c``
    ``probability`` ``p_y``
    ``brier``       ``2 p_y − Σ_c p_c²``
    ==============  =====================================

    Parameters
    ----------
    posterior : array (n, K, C)
    y : array of int (n,)
        True classes.
    scheme : {"margin", "raw_margin", "probability", "brier"}

    Returns
    -------
    array (n, K)

    Raises
    ------
    ValueError
        If the scheme is not one of the four, or a margin is asked of a single class.

    Examples
    --------
    >>> p = np.array([[[0.7, 0.2, 0.1]]])
    >>> {s: clip_reliability(p, np.array([0]), s).round(2).item() for s in SCHEMES}
    {'margin': 0.5, 'raw_margin': 0.5, 'probability': 0.7, 'brier': 0.86}
    """
    if scheme not in SCHEMES:
        raise ValueError(f"reliability must be one of {', '.join(SCHEMES)}; got {scheme!r}")
    rows = np.arange(len(y))
    own = posterior[rows, :, y]
    if scheme == "probability":
        return own
    if scheme == "brier":
        return 2 * own - np.square(posterior).sum(axis=-1)
    if posterior.shape[-1] < 2:
        raise ValueError("a margin needs at least two classes")
    others = posterior.copy()
    others[rows, :, y] = -np.inf
    margin = own - others.max(axis=-1)
    return np.maximum(margin, 0.0) if scheme == "margin" else margin


def shrink_reliability(reliability: NDArray, counts: NDArray[np.integer], strength: float) -> NDArray:
    """Pull the reliabilities of classes with few clips toward the mean of all.

    ``r̂ = n_c/(n_c+α)·r + α/(n_c+α)·mean(r)``, the mean taken over all heads and classes.

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
