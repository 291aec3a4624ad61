"""Directions of all heads learnt together: ridge regression on weighted heads, in its dual form.

With the kernel ``G[i, j] = Σ_h w_h·cos(z_i, z_j)`` of the support clips in the heads' metrics, class indicators ``Y``
and strength λ, the dual coefficients are ``α = (G + λ·Ω⁻¹)⁻¹ (Y − 1/C)`` with ``Ω`` the clips' weights; they fold back
into one direction a head and class, ``a[c, h] = w_h Σ_i α[i, c]·z_i/‖z_i‖``. Scores of clips that were left out come in
closed form, so that λ, and the temperature of the softmax, are chosen on the support set without a refit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from calm.fit.arrays import Array, beside, is_numpy, namespace, to_numpy
from calm.fit.confidence import choose_temperature, temperature_costs
from calm.fit.leave_one_out import LeftOut
from calm.fit.parallel import spans

#: Candidates for λ, and where it is put before any evidence; a kernel's diagonal is one.
STRENGTHS = np.logspace(-2, 1, 10)
PRIOR_STRENGTH = 0.5
PRIOR_SPREAD = 1.0  #: of its logarithm
#: Where the temperature of scores is put before any evidence.
PRIOR_TEMPERATURE = 0.15


@dataclass(frozen=True)
class RidgeFit:
    """What was learnt from a kernel."""

    dual: Array  #: (n, C) α
    strength: float  #: λ
    temperature: float  #: of the softmax of scores
    left_out_scores: NDArray[np.float64]  #: (n, C) of each clip by the model without it; NaN where it was not asked


def fit_ridge(
    kernel: Array,
    y: NDArray[np.integer],
    n_classes: int,
    *,
    weights: NDArray[np.floating],
    without: LeftOut,
    left_out_kernel: Array | None = None,
    strength: float | None = None,
) -> RidgeFit:
    """Fit, with strength and temperature chosen by the log loss of clips that were left out.

    A log-normal prior on both holds them where clips are few; a clip that is alone in its class is not asked.

    Parameters
    ----------
    kernel : array (n, n)
        Symmetric, of diagonal one.
    y : array of int (n,)
    n_classes : int
    weights : array (n,)
        How much each clip counts; above zero.
    without : LeftOut
        In the units of ``weights``.
    left_out_kernel : array (n, n), optional
        Row i: how clip i would see the others in a metric built without it; the kernel itself unless given.
    strength : float, optional
        λ, if it is not to be chosen.

    Returns
    -------
    RidgeFit

    Examples
    --------
    >>> from calm.fit.leave_one_out import left_out
    >>> X = np.array([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [-0.6, 0.8]])
    >>> y = np.array([0, 0, 1, 1])
    >>> fit = fit_ridge(X @ X.T, y, 2, weights=np.ones(4), without=left_out(y, np.array([2, 2])))
    >>> fit.left_out_scores.argmax(axis=1)
    array([0, 0, 1, 1])
    """
    system = _Eigensystem.of(kernel, kernel if left_out_kernel is None else left_out_kernel, y, n_classes, weights)
    asked = ~without.alone
    candidates = STRENGTHS if strength is None else np.array([strength])
    if not asked.any():
        best = PRIOR_STRENGTH if strength is None else strength
        return RidgeFit(system.dual(best), best, PRIOR_TEMPERATURE, np.full((len(y), n_classes), np.nan))
    costs, left = [], []
    for candidate in candidates:
        left.append(system.left_out_scores(candidate, without))
        prior = 0.5 * (np.log(candidate / PRIOR_STRENGTH) / PRIOR_SPREAD) ** 2
        temperatures, cost = temperature_costs(left[-1][asked], y[asked], weights[asked], PRIOR_TEMPERATURE)
        costs.append(cost + prior)
    at, warmth = np.unravel_index(np.argmin(costs), np.shape(costs))
    scores = np.where(asked[:, None], left[at], np.nan)
    return RidgeFit(system.dual(candidates[at]), float(candidates[at]), float(temperatures[warmth]), scores)


def solve_ridge(
    kernel: Array,
    y: NDArray[np.integer],
    n_classes: int,
    strength: float,
    *,
    weights: NDArray[np.floating],
    without: LeftOut,
) -> RidgeFit:
    """Fit with a strength that is given, in the memory of the kernel alone, which is overwritten; else as above.

    The inverse takes the kernel's place (LAPACK's ``potrf`` and ``potri``), which costs less than an eigensystem.

    Examples
    --------
    >>> from calm.fit.leave_one_out import left_out
    >>> X = np.array([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0], [-0.6, 0.8]])
    >>> y = np.array([0, 0, 1, 1])
    >>> fit = solve_ridge(X @ X.T, y, 2, 0.5, weights=np.ones(4), without=left_out(y, np.array([2, 2])))
    >>> fit.left_out_scores.argmax(axis=1)
    array([0, 0, 1, 1])
    """
    targets = _targets(y, n_classes)
    inverse = _inverse_in_place(kernel, strength / weights)
    dual = inverse @ beside(inverse, targets, inverse.dtype)
    own = to_numpy(namespace(inverse).linalg.diagonal(inverse)).astype(np.float64)
    units = np.minimum(without.units, weights)
    # Seen from its own place, a clip's score is its target less what the ridge holds back.
    held = strength * weights / (weights * (weights - units) + strength * units * own)
    scores = np.asarray(targets - held[:, None] * to_numpy(dual), dtype=np.float64)
    asked = ~without.alone
    temperature = PRIOR_TEMPERATURE
    if asked.any():
        temperature = choose_temperature(scores[asked], y[asked], weights[asked], PRIOR_TEMPERATURE)
    return RidgeFit(dual, strength, temperature, np.where(asked[:, None], scores, np.nan))


def _inverse_in_place(kernel: Array, ridge: NDArray[np.floating]) -> Array:
    """Return ``(kernel + diag(ridge))⁻¹``; a numpy kernel is overwritten."""
    if not is_numpy(kernel):
        xp = namespace(kernel)
        diagonal = xp.eye(len(ridge), dtype=kernel.dtype, device=kernel.device) * beside(kernel, ridge, kernel.dtype)
        return xp.linalg.inv(kernel + diagonal)
    kernel[np.diag_indices(len(ridge))] += ridge.astype(kernel.dtype)
    functions: Any = get_lapack_funcs(("potrf", "potri"), (kernel,))  # of its precision
    factor, invert = functions
    triangle, info = factor(kernel.T, lower=False, overwrite_a=True, clean=False)  # symmetric: its own transpose
    if info == 0:
        triangle, info = invert(triangle, lower=False, overwrite_c=True)
    if info != 0:
        raise ValueError("the support clips' kernel is not positive: try a larger strength")
    inverse = triangle.T
    # LAPACK fills one triangle: the lower one, seen from here.
    for rows in spans(len(ridge), 512):
        below = inverse[rows, : rows.stop]
        square = below[:, rows]
        square[...] = np.tril(square) + np.tril(square, -1).T
        inverse[: rows.start, rows] = below[:, : rows.start].T
    return inverse


def _targets(y: NDArray[np.integer], n_classes: int) -> NDArray[np.float64]:
    """Return centred indicators of class, ``(n, C)``."""
    targets = np.full((len(y), n_classes), -1 / n_classes)
    targets[np.arange(len(y)), y] += 1.0
    return targets


@dataclass(frozen=True)
class _Eigensystem:
    """``√Ω G √Ω = V diag(e) Vᵀ``, in which every λ is solved at the cost of a few products."""

    values: Array  # (n,)
    vectors: Array  # (n, n) √Ω V
    targets: Array  # (n, C) Vᵀ √Ω (Y − 1/C)
    seen: Array  # (n, n) left-out kernel · √Ω V
    weights: NDArray[np.floating]

    @classmethod
    def of(
        cls, kernel: Array, left_out: Array, y: NDArray[np.integer], n_classes: int, weights: NDArray[np.floating]
    ) -> _Eigensystem:
        xp = namespace(kernel)
        root = beside(kernel, np.sqrt(weights), kernel.dtype)[:, None]
        values, vectors = xp.linalg.eigh(root * kernel * root.T)
        vectors = vectors * root
        targets = vectors.T @ beside(kernel, _targets(y, n_classes), kernel.dtype)
        return cls(xp.clip(values, 0.0, None), vectors, targets, left_out @ vectors, weights)

    def dual(self, strength: float) -> Array:
        return self.vectors @ (self.targets / (self.values + strength)[:, None])

    def left_out_scores(self, strength: float, without: LeftOut) -> NDArray[np.float64]:
        """Score each clip by the model without it (or with one unit less of its weight).

        Taking weight from a clip changes one diagonal entry of the system, a rank-one change of its inverse.
        """
        xp, inverse = namespace(self.values), 1 / (self.values + strength)
        dual = self.dual(strength)
        own = to_numpy(xp.sum(self.vectors**2 * inverse, axis=1))  # diagonal of (G + λΩ⁻¹)⁻¹
        seen_own = to_numpy(xp.sum(self.seen * self.vectors * inverse, axis=1))
        scores = to_numpy(self.seen @ (self.targets * inverse[:, None]))
        units = np.minimum(without.units, self.weights)
        lost = strength * units / (self.weights * (self.weights - units) + strength * units * own)
        return np.asarray(scores - (seen_own * lost)[:, None] * to_numpy(dual), dtype=np.float64)
