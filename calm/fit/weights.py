"""From reliabilities to class-conditional head weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from calm.fit.checks import check_choice, check_count, check_positive
from calm.fit.reliability import SCHEMES, Scheme


def head_weights(
    reliability: NDArray[np.floating], scheme: Scheme, temperature: float = 1.0, top_heads: int | None = None
) -> NDArray[np.float64]:
    """Turn reliabilities into weights over heads that sum to one for each class (CALM, arXiv 2602.07077).

    For ``margin`` and ``separation``, ``w = r^(1/τ_w) / Σ_h r^(1/τ_w)``, a reliability below 0 counting as 0, and
    uniform where every head of a class has 0. For the other schemes, ``w = softmax_h(r / τ_w)``.

    Parameters
    ----------
    reliability : array (K, C)
    scheme : {"separation", "margin", "raw_margin", "probability", "brier"}
        How ``reliability`` was scored.
    temperature : float
        τ_w, above zero; large is close to uniform.
    top_heads : int, optional
        Keep only this many of the most reliable heads of each class. Among equals, the first heads are kept.

    Returns
    -------
    array of float64 (K, C)

    Raises
    ------
    ValueError
        If the temperature or ``top_heads`` is not above zero.

    Examples
    --------
    >>> r = np.array([[0.3, 0.0], [0.1, 0.0], [0.0, 0.0]])
    >>> head_weights(r, "margin")[:, 0]
    array([0.75, 0.25, 0.  ])
    >>> head_weights(r, "margin")[:, 1].round(3)
    array([0.333, 0.333, 0.333])
    >>> head_weights(r, "probability", top_heads=1)[:, 0]
    array([1., 0., 0.])
    """
    check_choice("reliability", scheme, SCHEMES)
    check_positive("weight_temperature", temperature)
    if top_heads is not None:
        check_count("top_heads", top_heads)
    reliability = np.asarray(reliability, dtype=np.float64)
    kept = _most_reliable(reliability, top_heads)
    if scheme not in ("margin", "separation"):
        return softmax(np.where(kept, reliability / temperature, -np.inf), axis=0)
    # Scaling by the best head first keeps a small τ_w from underflowing every weight to zero.
    reliability = np.maximum(reliability, 0.0)
    best = reliability.max(axis=0, keepdims=True)
    relative = np.divide(reliability, best, out=np.ones_like(reliability), where=best > 0)
    raised = np.where(kept, relative ** (1.0 / temperature), 0.0)
    return raised / raised.sum(axis=0, keepdims=True)


def _most_reliable(reliability: NDArray[np.floating], top_heads: int | None) -> NDArray[np.bool_]:
    """Mark the ``top_heads`` best heads of each class, ``(K, C)``."""
    if top_heads is None or top_heads >= len(reliability):
        return np.ones(reliability.shape, dtype=bool)
    best_first = np.argsort(-reliability, axis=0, kind="stable")[:top_heads]
    kept = np.zeros(reliability.shape, dtype=bool)
    np.put_along_axis(kept, best_first, True, axis=0)
    return kept
