"""Directions of all heads learnt together: ridge regression on weighted heads, in its dual form.

With the kernel ``G[i, j] = Σ_h w_h·cos(z_i, z_j)`` of the support clips in the heads' metrics, class indicators ``Y``
and strength λ, the dual coefficients are ``α = (G + λ·Ω⁻¹)⁻¹ (Y − 1/C)`` with ``Ω`` the clips' weights; they fold back
into one direction a head and class, ``a[c, h] = w_h Σ_i α[i, c]·z_i/‖z_i‖``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, solve

from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy

#: Candidates for λ, and where it is put before any evidence; a kernel's diagonal is one.
STRENGTHS = np.logspace(-2, 1, 10)
PRIOR_STRENGTH = 0.5
PRIOR_SPREAD = 1.0  #: of its logarithm
#: Where the temperature of scores is put before any evidence.
PRIOR_TEMPERATURE = 0.15


def solve_ridge(
    kernel: Array, y: NDArray[np.integer], n_classes: int, strength: float, weights: NDArray[np.floating]
) -> Array:
    """Compute the dual coefficients α, in the memory of the kernel, which is overwritten.

    Parameters
    ----------
    kernel : array (n, n)
        Symmetric, of diagonal one.
    y : array of int (n,)
    n_classes : int
    strength : float
        λ.
    weights : array (n,)
        How much each clip counts; above zero.

    Returns
    -------
    array (n, C)

    Raises
    ------
    ValueError
        If the strength is too small for the kernel's precision.

    Examples
    --------
    >>> X = np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> solve_ridge(X @ X.T, np.array([0, 1]), 2, 0.5, np.ones(2)).round(2)
    array([[ 0.2, -0.2],
           [-0.2,  0.2]])
    """
    targets = convert_like(kernel, _targets(y, n_classes), kernel.dtype)
    if not is_numpy(kernel):
        xp = namespace(kernel)
        ridge = convert_like(kernel, np.diag(strength / weights), kernel.dtype)
        return xp.linalg.solve(kernel + ridge, targets)
    kernel[np.diag_indices(len(y))] += (strength / weights).astype(kernel.dtype)
    try:  # symmetric: its own transpose, which lies as LAPACK wants it
        return solve(kernel.T, targets, assume_a="pos", overwrite_a=True, overwrite_b=True, check_finite=False)
    except LinAlgError as error:
        raise ValueError(f"strength {strength:g} is too small to solve for in {kernel.dtype}") from error


def ridge_path(
    kernel: Array, across: Array, y: NDArray[np.integer], n_classes: int, weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Score other clips by a ridge regression of every strength in :data:`STRENGTHS`.

    One eigensystem serves them all.

    Parameters
    ----------
    kernel : array (n, n)
    across : array (m, n)
        Kernel of the other clips with these.
    y, n_classes, weights
        As for :func:`solve_ridge`.

    Returns
    -------
    array (strengths, m, C)
    """
    xp = namespace(kernel)
    root = convert_like(kernel, np.sqrt(weights), kernel.dtype)[:, None]
    values, vectors = xp.linalg.eigh(root * kernel * root.T)
    vectors, values = vectors * root, xp.clip(values, 0.0, None)
    targets, seen = vectors.T @ convert_like(kernel, _targets(y, n_classes), kernel.dtype), across @ vectors
    scores = [to_numpy(seen @ (targets / (values + strength)[:, None])) for strength in STRENGTHS]
    return np.asarray(scores, dtype=np.float64)


def _targets(y: NDArray[np.integer], n_classes: int) -> NDArray[np.float64]:
    """Return centred indicators of class, ``(n, C)``."""
    targets = np.full((len(y), n_classes), -1 / n_classes)
    targets[np.arange(len(y)), y] += 1.0
    return targets
