"""Class-conditional head weights from reliabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from calm.fit.checks import check_choice, check_count, check_positive
from calm.fit.reliability import SCHEMES, Scheme


def head_weights(
    reliability: NDArray[np.floating], scheme: Scheme, temperature: float = 1.0, top_heads: int | None = None
) -> NDArray[np.float64]:
    """Turn reliabilities into head weights that sum to 1 for each class.

    Parameters
    ----------
    reliability : array of shape (n_heads, n_classes)
        Reliability of each head for each class.
    scheme : {"separation", "margin", "raw_margin", "probability", "brier"}
        Scheme by which ``reliability`` was scored. It decides the formula; see Notes.
    temperature : float, default=1.0
        Weight temperature τ_w, above 0. A large value brings the weights close to uniform.
    top_heads : int, default=None
        Number of most reliable heads to keep for each class; the others get weight 0. Ties keep the heads with the
        lowest indices. None keeps all heads.

    Returns
    -------
    array of float64 of shape (n_heads, n_classes)
        Weight of each head for each class.

    Raises
    ------
    ValueError
        If the scheme is unknown, the temperature is not above 0, or ``top_heads`` is below 1.

    See Also
    --------
    calm.fit.clip_reliability : Score heads on labelled clips.
    calm.fit.shrink_reliability : Shrink reliabilities before they are weighted.
    calm.fit.soft_vote : Use the weights in a vote.

    Notes
    -----
    For "margin" and "separation", ``w = r^(1/τ_w) / Σ_h r^(1/τ_w)``. Negative reliabilities count as 0. A class for
    which all reliabilities are 0 gets uniform weights. For the other schemes, ``w = softmax_h(r / τ_w)``.

    References
    ----------
    CALM, arXiv 2602.07077.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import head_weights
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
    kept = _mark_top_heads(reliability, top_heads)
    if scheme not in ("margin", "separation"):
        return softmax(np.where(kept, reliability / temperature, -np.inf), axis=0)
    # Division by the best head keeps a small τ_w from underflowing every weight to zero.
    reliability = np.maximum(reliability, 0.0)
    best = reliability.max(axis=0, keepdims=True)
    relative = np.divide(reliability, best, out=np.ones_like(reliability), where=best > 0)
    raised = np.where(kept, relative ** (1.0 / temperature), 0.0)
    return raised / raised.sum(axis=0, keepdims=True)


def _mark_top_heads(reliability: NDArray[np.floating], top_heads: int | None) -> NDArray[np.bool_]:
    """Return a mask of the most reliable heads of each class, of shape (n_heads, n_classes)."""
    if top_heads is None or top_heads >= len(reliability):
        return np.ones(reliability.shape, dtype=bool)
    best_first = np.argsort(-reliability, axis=0, kind="stable")[:top_heads]
    kept = np.zeros(reliability.shape, dtype=bool)
    np.put_along_axis(kept, best_first, True, axis=0)
    return kept
