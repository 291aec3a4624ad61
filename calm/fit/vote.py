"""The weighted vote."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def soft_vote(posterior: NDArray, weights: NDArray) -> NDArray:
    """Compute ``score[i, c] = Σ_h w[h, c] · p[i, h, c]`` (CALM, arXiv 2602.07077); the argmax is the prediction.

    Parameters
    ----------
    posterior : array (n, K, C)
    weights : array (K, C)
        Sums to one over heads for each class.

    Returns
    -------
    array (n, C)
        In ``[0, 1]``. Rows need not sum to one, since each class has weights of its own.

    Examples
    --------
    The first head decides on class 0, the second on class 1:

    >>> p = np.array([[[0.9, 0.1], [0.4, 0.6]]])
    >>> soft_vote(p, np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([[0.9, 0.6]])
    """
    return np.einsum("nkc,kc->nc", posterior, weights)
