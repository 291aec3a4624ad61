"""Cosine similarity of head vectors to prototypes, and the per-head posterior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from calm.fit.checks import check_positive


def unit_vectors(X: NDArray) -> NDArray:
    """Scale the last axis to length one; a zero vector stays zero.

    >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    X = np.asarray(X, dtype=np.result_type(X, np.float32))
    # Dividing by the largest entry first keeps squares inside float32 whatever the scale of the head.
    largest = np.abs(X).max(axis=-1, keepdims=True)
    scaled = np.divide(X, largest, out=np.zeros_like(X), where=largest > 0)
    length = np.sqrt(np.einsum("...d,...d->...", scaled, scaled))[..., None]
    return np.divide(scaled, length, out=scaled, where=length > 0)


def cosine_similarity(X: NDArray, prototypes: NDArray) -> NDArray:
    """Compute ``s[i, h, c] = cos(x[i, h], μ[c, h])``.

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors.
    prototypes : array (C, K, D)

    Returns
    -------
    array (n, K, C)
        In ``[-1, 1]`` up to rounding; 0 where either vector is zero. A view whose memory runs head by head, as the
        batched matrix product leaves it.

    Examples
    --------
    >>> X = np.array([[[2.0, 0.0]]])
    >>> prototypes = np.array([[[1.0, 0.0]], [[0.0, 5.0]], [[-1.0, 0.0]]])
    >>> cosine_similarity(X, prototypes)
    array([[[ 1.,  0., -1.]]])
    """
    heads_first = unit_vectors(X).transpose(1, 0, 2)  # (K, n, D)
    classes_last = unit_vectors(prototypes).transpose(1, 2, 0)  # (K, D, C)
    return np.matmul(heads_first, classes_last).transpose(1, 0, 2)


def posterior(similarity: NDArray, temperature: float) -> NDArray:
    """Compute ``p[i, h, c] = softmax_c(s[i, h, c] / τ)``: what each head alone believes.

    Parameters
    ----------
    similarity : array (n, K, C)
    temperature : float
        τ, above zero.

    Returns
    -------
    array (n, K, C)
        Sums to one over classes.

    Raises
    ------
    ValueError
        If the temperature is not above zero.

    Examples
    --------
    >>> posterior(np.array([[[0.1, 0.1]]]), 0.07)
    array([[[0.5, 0.5]]])
    """
    check_positive("temperature", temperature)
    return softmax(similarity / temperature, axis=-1)
