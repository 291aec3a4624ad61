"""Ridge regression over all heads in its dual (kernel) form.

The kernel of the support clips is ``G[i, j] = Σ_h w_h·cos(z_i, z_j)``, where ``z`` is a head vector in its metric and
``w_h`` the weight of the head. With class indicators ``Y``, strength λ and the diagonal matrix ``Ω`` of sample
weights, the dual coefficients are ``α = (G + λ·Ω⁻¹)⁻¹ (Y − 1/C)``. They yield one direction for each head and class,
``a[c, h] = w_h Σ_i α[i, c]·z_i/‖z_i‖``.

The dual form is that of Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables",
ICML 1998.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, solve

from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy

#: Candidate strengths λ, for a kernel with ones on its diagonal.
STRENGTHS = np.logspace(-2, 1, 10)
#: Strength at the mode of its prior.
PRIOR_STRENGTH = 0.5
#: Standard deviation of the prior over the logarithm of the strength.
PRIOR_SPREAD = 1.0
#: Softmax temperature of ridge scores at the mode of its prior.
PRIOR_TEMPERATURE = 0.15


def solve_ridge(
    kernel: Array, y: NDArray[np.integer], n_classes: int, strength: float, weights: NDArray[np.floating]
) -> Array:
    """Compute the dual coefficients of a weighted ridge regression on class indicators.

    Parameters
    ----------
    kernel : array of shape (n_clips, n_clips)
        Symmetric kernel of the support clips, with ones on its diagonal. A numpy kernel is overwritten.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    n_classes : int
        Number of classes.
    strength : float
        Regularization strength λ, above 0.
    weights : array of shape (n_clips,)
        Sample weight of each clip, above 0.

    Returns
    -------
    array of shape (n_clips, n_classes)
        Dual coefficients ``α = (G + λ·Ω⁻¹)⁻¹ (Y − 1/C)``.

    Raises
    ------
    ValueError
        If the strength is too small for the precision of a numpy kernel.

    See Also
    --------
    calm.fit.ridge_path : Score other clips for several strengths at once.
    calm.fit.LinearVoter : Score clips by directions.
    sklearn.kernel_ridge.KernelRidge : Estimator of the same regression.

    References
    ----------
    Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables", ICML 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import solve_ridge
    >>> X = np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> solve_ridge(X @ X.T, np.array([0, 1]), 2, 0.5, np.ones(2)).round(2)
    array([[ 0.2, -0.2],
           [-0.2,  0.2]])
    """
    targets = convert_like(kernel, _center_indicators(y, n_classes), kernel.dtype)
    if not is_numpy(kernel):
        xp = namespace(kernel)
        ridge = convert_like(kernel, np.diag(strength / weights), kernel.dtype)
        return xp.linalg.solve(kernel + ridge, targets)
    kernel[np.diag_indices(len(y))] += (strength / weights).astype(kernel.dtype)
    try:
        # The transpose of the symmetric kernel has the memory order of LAPACK, which saves a copy.
        return solve(kernel.T, targets, assume_a="pos", overwrite_a=True, overwrite_b=True, check_finite=False)
    except LinAlgError as error:
        raise ValueError(f"strength {strength:g} is too small for a {kernel.dtype} kernel: use a larger one") from error


def ridge_path(
    kernel: Array, cross_kernel: Array, y: NDArray[np.integer], n_classes: int, weights: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Score held-out clips by one ridge regression for each strength in ``calm.fit.ridge.STRENGTHS``.

    One eigendecomposition of the kernel serves all strengths.

    Parameters
    ----------
    kernel : array of shape (n_clips, n_clips)
        Symmetric kernel of the training clips.
    cross_kernel : array of shape (n_held_out, n_clips)
        Kernel of the held-out clips with the training clips.
    y : array of int of shape (n_clips,)
        Class number of each training clip.
    n_classes : int
        Number of classes.
    weights : array of shape (n_clips,)
        Sample weight of each training clip, above 0.

    Returns
    -------
    array of float64 of shape (n_strengths, n_held_out, n_classes)
        Scores of the held-out clips.

    See Also
    --------
    calm.fit.solve_ridge : Solve for one strength.
    calm.fit.assign_folds : Choose the clips to hold out.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import ridge_path
    >>> X, held_out = np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([[0.6, 0.8]])
    >>> scores = ridge_path(X @ X.T, held_out @ X.T, np.array([0, 1]), 2, np.ones(2))
    >>> scores.shape
    (10, 1, 2)
    >>> scores[[0, -1]].round(2)
    array([[[ 0.3 , -0.3 ]],
           [[ 0.05, -0.05]]])
    """
    xp = namespace(kernel)
    root = convert_like(kernel, np.sqrt(weights), kernel.dtype)[:, None]
    eigenvalues, vectors = xp.linalg.eigh(root * kernel * root.T)
    vectors, eigenvalues = vectors * root, xp.clip(eigenvalues, 0.0, None)
    targets = vectors.T @ convert_like(kernel, _center_indicators(y, n_classes), kernel.dtype)
    held_out = cross_kernel @ vectors
    scores = [to_numpy(held_out @ (targets / (eigenvalues + strength)[:, None])) for strength in STRENGTHS]
    return np.asarray(scores, dtype=np.float64)


def _center_indicators(y: NDArray[np.integer], n_classes: int) -> NDArray[np.float64]:
    """Return the class indicators minus 1/C, of shape (n_clips, n_classes)."""
    targets = np.full((len(y), n_classes), -1 / n_classes)
    targets[np.arange(len(y)), y] += 1.0
    return targets
