"""Cosine similarity between head vectors and prototypes, and the class posterior of each head."""

from __future__ import annotations

import numpy as np

from calm.fit.arrays import Array, namespace
from calm.fit.checks import check_positive
from calm.fit.metric import Metric


def unit_vectors(X: Array) -> Array:
    """Scale vectors to unit Euclidean length.

    Parameters
    ----------
    X : array of shape (..., dim)
        Vectors along the last axis, at any scale.

    Returns
    -------
    array of shape (..., dim)
        Unit vectors. A zero vector stays zero.

    See Also
    --------
    calm.fit.cosine_similarity : Compare head vectors with prototypes.
    sklearn.preprocessing.normalize : Does the same for matrices.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import unit_vectors
    >>> unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    xp = namespace(X)
    with np.errstate(over="ignore"):
        squared = xp.linalg.vecdot(X, X)[..., None]
    if bool(xp.all((squared > 1e-30) & (squared < 1e30))):
        return X / xp.sqrt(squared)
    # Dividing by the largest entry first keeps the squares inside the range of float32.
    largest = xp.max(xp.abs(X), axis=-1, keepdims=True)
    scaled = X / xp.where(largest > 0, largest, xp.ones_like(largest))
    length = xp.sqrt(xp.sum(scaled * scaled, axis=-1, keepdims=True))
    scaled /= xp.where(length > 0, length, xp.ones_like(length))
    return scaled


def cosine_similarity(X: Array, prototypes: Array, metric: Metric | None = None) -> Array:
    """Compute the cosine similarity of each head vector to each class prototype.

    Parameters
    ----------
    X : array of shape (n_clips, n_heads, head_dim)
        Head vectors.
    prototypes : array of shape (n_classes, n_heads, head_dim)
        Class means of head vectors.
    metric : Metric, default=None
        Metric of each head in which the cosine is taken. None compares the vectors without centring or whitening.

    Returns
    -------
    array of shape (n_clips, n_heads, n_classes)
        ``s[i, h, c] = cos(x[i, h], μ[c, h])``, in [-1, 1] up to rounding. It is 0 where either vector is zero.
        The result is a transposed view: its memory is ordered by head first.

    See Also
    --------
    calm.fit.class_means : Compute the prototypes.
    calm.fit.whitening : Build a metric.
    calm.fit.leave_one_out_similarity : Compare support clips with prototypes that exclude them.
    calm.fit.posterior : Turn similarities into probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import cosine_similarity
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
    """Compute the class posterior of each single head.

    Parameters
    ----------
    similarity : array of shape (n_clips, n_heads, n_classes)
        Cosine similarities of clips to prototypes.
    temperature : float
        Softmax temperature τ, above 0. A small value makes the posterior sharp.

    Returns
    -------
    array of shape (n_clips, n_heads, n_classes)
        ``p[i, h, c] = softmax_c(s[i, h, c] / τ)``, which sums to 1 over classes.

    Raises
    ------
    ValueError
        If the temperature is not above 0.

    See Also
    --------
    calm.fit.cosine_similarity : Compute the similarities.
    calm.fit.soft_vote : Combine the posteriors of all heads.
    calm.fit.score_posterior : Score posteriors on labelled clips.

    References
    ----------
    CALM, arXiv 2602.07077.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import posterior
    >>> posterior(np.array([[[0.1, 0.1]]]), 0.07)
    array([[[0.5, 0.5]]])
    """
    check_positive("temperature", temperature)
    return softmax(similarity / temperature, axis=-1)


def softmax(x: Array, axis: int) -> Array:
    """Compute the softmax along an axis.

    Parameters
    ----------
    x : array
        Logits. An entry of −∞ gets probability 0.
    axis : int
        Axis along which the result sums to 1.

    Returns
    -------
    array of the shape of x
        Probabilities.

    See Also
    --------
    calm.fit.log_softmax : Compute the logarithm without underflow.
    calm.fit.posterior : Apply a softmax with a temperature to similarities.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import softmax
    >>> softmax(np.array([0.0, 0.0, -np.inf]), axis=0)
    array([0.5, 0.5, 0. ])
    """
    xp = namespace(x)
    raised = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    raised /= xp.sum(raised, axis=axis, keepdims=True)
    return raised


def log_softmax(x: Array, axis: int) -> Array:
    """Compute the logarithm of the softmax along an axis.

    Parameters
    ----------
    x : array
        Logits.
    axis : int
        Axis along which the probabilities sum to 1.

    Returns
    -------
    array of the shape of x
        Log probabilities.

    See Also
    --------
    calm.fit.softmax : Compute the probabilities.
    calm.fit.expected_calibration_error : Measure how well probabilities are calibrated.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import log_softmax
    >>> np.exp(log_softmax(np.array([0.0, 0.0]), axis=0))
    array([0.5, 0.5])
    """
    xp = namespace(x)
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))
