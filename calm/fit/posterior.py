"""Cosine similarity of head vectors to prototypes, and the per-head posterior."""

from __future__ import annotations

import numpy as np

from calm.fit.arrays import Array, namespace
from calm.fit.checks import check_positive
from calm.fit.metric import Metric


def unit_vectors(X: Array) -> Array:
    """Scale the last axis to length one; a zero vector stays zero.

    >>> import numpy as np
    >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    xp = namespace(X)
    with np.errstate(over="ignore"):
        squared = xp.linalg.vecdot(X, X)[..., None]
    if bool(xp.all((squared > 1e-30) & (squared < 1e30))):
        return X / xp.sqrt(squared)
    # Dividing by the largest entry first keeps squares inside float32 whatever the scale of the head.
    largest = xp.max(xp.abs(X), axis=-1, keepdims=True)
    scaled = X / xp.where(largest > 0, largest, xp.ones_like(largest))
    length = xp.sqrt(xp.sum(scaled * scaled, axis=-1, keepdims=True))
    scaled /= xp.where(length > 0, length, xp.ones_like(length))
    return scaled


def cosine_similarity(X: Array, prototypes: Array, metric: Metric | None = None) -> Array:
    """Compute ``s[i, h, c] = cos(x[i, h], μ[c, h])``.

    Parameters
    ----------
    X : array (n, K, D)
        Head vectors.
    prototypes : array (C, K, D)
    metric : Metric, optional
        Where the angle is measured; between the vectors as they are, unless given.

    Returns
    -------
    array (n, K, C)
        In ``[-1, 1]`` up to rounding; 0 where either vector is zero. A view whose memory runs head by head, as the
        batched matrix product leaves it.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[[2.0, 0.0]]])
    >>> prototypes = np.array([[[1.0, 0.0]], [[0.0, 5.0]], [[-1.0, 0.0]]])
    >>> cosine_similarity(X, prototypes)
    array([[[ 1.,  0., -1.]]])
    """
    xp = namespace(X)
    if metric is None:
        clips, classes = xp.permute_dims(X, (1, 0, 2)), xp.permute_dims(prototypes, (1, 0, 2))
    else:
        clips, classes = metric.project(X), metric.project(prototypes)
    similarity = xp.matmul(unit_vectors(clips), xp.permute_dims(unit_vectors(classes), (0, 2, 1)))
    return xp.permute_dims(similarity, (1, 0, 2))


def posterior(similarity: Array, temperature: float) -> Array:
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
    >>> import numpy as np
    >>> posterior(np.array([[[0.1, 0.1]]]), 0.07)
    array([[[0.5, 0.5]]])
    """
    check_positive("temperature", temperature)
    return softmax(similarity / temperature, axis=-1)


def softmax(x: Array, axis: int) -> Array:
    """Compute the softmax; entries of −∞ get nothing.

    >>> import numpy as np
    >>> softmax(np.array([0.0, 0.0, -np.inf]), axis=0)
    array([0.5, 0.5, 0. ])
    """
    xp = namespace(x)
    raised = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    raised /= xp.sum(raised, axis=axis, keepdims=True)
    return raised


def log_softmax(x: Array, axis: int) -> Array:
    """Compute the logarithm of the softmax.

    >>> import numpy as np
    >>> np.exp(log_softmax(np.array([0.0, 0.0]), axis=0))
    array([0.5, 0.5])
    """
    xp = namespace(x)
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))
