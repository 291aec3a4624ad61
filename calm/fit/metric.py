"""The metric of each head: where its vectors are centred, and how they are whitened before the cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import get_lapack_funcs

from calm.fit.arrays import Array, convert_like, epsilon, is_numpy, namespace, tiny, to_float64
from calm.fit.checks import check_share
from calm.fit.statistics import ClassStatistics


@dataclass(frozen=True)
class Metric:
    """A linear map a head: ``z = (x − centre) · transform``.

    The cosine of two whitened vectors is a per-head form of linear discriminant analysis.
    """

    centre: Array  #: (K, D)
    transform: Array  #: (K, D, D)
    leverage: Array  #: (K,) how much one clip's residual, whitened and squared, weighs in the covariance

    @property
    def parts(self) -> tuple[Array, Array, Array]:
        """Centre, transform and leverage."""
        return self.centre, self.transform, self.leverage

    def astype(self, dtype: Any) -> Metric:
        """Return the metric in another precision."""
        xp = namespace(self.centre)
        return Metric(*(xp.astype(part, dtype) for part in self.parts))

    def select_heads(self, heads: slice) -> Metric:
        """Return the metric of some of the heads."""
        return Metric(*(part[heads] for part in self.parts))

    def project(self, X: Array) -> Array:
        """Map head vectors ``(n, K, D)``, class means or clips, into the metric; heads come first: ``(K, n, D)``."""
        xp = namespace(X)
        centred = xp.permute_dims(X, (1, 0, 2)) - self.centre[:, None, :]
        return xp.matmul(centred, self.transform)


def oas_shrinkage(covariance: Array, degrees: float) -> Array:
    """Compute how far to shrink each covariance toward a scaled identity (OAS: Chen, Wiesel, Eldar and Hero, 2010).

    The oracle-approximating strength needs the covariance and its degrees of freedom only, so it is there after
    :func:`calm.fit.merge_statistics` too; the mean stands for one of them.

    Parameters
    ----------
    covariance : array (K, D, D)
    degrees : float
        Clips less classes.

    Returns
    -------
    array (K,)
        Between 0 and 1; 1 where nothing can be told of directions.

    Examples
    --------
    >>> covariance = np.diag([4.0, 1.0, 1.0])[None]
    >>> [oas_shrinkage(covariance, n).round(2).item() for n in (5, 50)]
    [1.0, 0.14]
    """
    xp = namespace(covariance)
    dim = covariance.shape[-1]
    squared = xp.sum(covariance * covariance, axis=(-2, -1))
    trace = xp.sum(xp.linalg.diagonal(covariance), axis=-1)
    spread = squared - trace**2 / dim  # 0 where the covariance is a multiple of the identity already
    above = (1 - 2 / dim) * squared + trace**2
    below = (degrees + 1 - 2 / dim) * spread
    ones = xp.ones_like(above)
    return xp.clip(xp.where(below > above * 1e-12, above / xp.where(below > 0, below, ones), ones), 0.0, 1.0)


def whitening(stats: ClassStatistics, strength: float | str = "oas") -> Metric:
    """Build the metric in which each head's pooled within-class covariance is the identity.

    ``Σ = (1 − γ)·S + γ·tr(S)/D·I``, with ``S`` the pooled within-class covariance. The centre is the mean of the class
    means. Where no class has two clips there is no covariance, and vectors are centred only.

    Parameters
    ----------
    stats : ClassStatistics
        With scatter.
    strength : float or "oas"
        γ, between 0 and 1: the shrinkage toward a scaled identity. 1 only centres. Unless given, by
        :func:`oas_shrinkage`.

    Returns
    -------
    Metric
        In float64.

    Raises
    ------
    ValueError
        If the strength is neither "oas" nor between 0 and 1.

    Examples
    --------
    >>> from calm.fit import class_statistics
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 1, 2)) * [5.0, 0.1]
    >>> metric = whitening(class_statistics(X, np.zeros(200, int), 1), 0.0)
    >>> np.abs(np.cov(metric.project(X)[0].T, ddof=1)).round(6)
    array([[1., 0.],
           [0., 1.]])
    """
    check_whitening(strength)
    if stats.scatter is None:
        raise ValueError("whitening needs statistics with scatter")
    xp, scatter = namespace(stats.means), to_float64(stats.scatter)
    present = stats.counts > 0
    centre = xp.mean(to_float64(stats.means)[convert_like(scatter, np.flatnonzero(present))], axis=0)
    dim = centre.shape[1]
    identity = convert_like(scatter, np.eye(dim), scatter.dtype)
    # What is left of a head that is the same for all clips is rounding; it is mapped to zero.
    means = to_float64(stats.means)
    rounding = (64 * epsilon(stats.means)) ** 2 * xp.max(means * means, axis=(0, 2)) + tiny(means)
    apart = xp.max((means - centre)[convert_like(scatter, np.flatnonzero(present))] ** 2, axis=(0, 2))
    degrees = float(stats.counts.sum() - present.sum())
    if degrees < 0.5:  # weights may leave a fraction of a clip
        heard = xp.astype(apart > rounding, scatter.dtype)
        return Metric(centre, heard[:, None, None] * identity, xp.zeros_like(rounding))
    level = xp.sum(xp.linalg.diagonal(scatter), axis=-1) / (dim * degrees)
    varies = level > rounding
    heard = xp.astype(varies | (apart > rounding), scatter.dtype)
    scale = xp.where(varies, level, xp.ones_like(level))
    share = xp.astype(varies, scatter.dtype) / (scale * degrees)
    covariance = scatter * share[:, None, None]  # at a level of one; zero for heads that do not vary
    gamma = oas_shrinkage(covariance, degrees) if isinstance(strength, str) else xp.ones_like(level) * float(strength)
    gamma = xp.where(varies, gamma, xp.ones_like(level))
    covariance *= (1 - gamma)[:, None, None]
    # Never less than rounding: directions that never varied must not be stretched without end.
    least = max(1e-10, dim * epsilon(stats.scatter))
    covariance += xp.clip(gamma, least, None)[:, None, None] * identity
    stretch = heard / xp.sqrt(scale)
    return Metric(centre, _inverse_root(covariance) * stretch[:, None, None], (1 - gamma) / degrees)


def _inverse_root(covariance: Array) -> Array:
    """Return ``U⁻¹`` for ``Σ = UᵀU`` with upper triangles ``U``, so that ``x·U⁻¹`` has the identity for covariance.

    Of all roots the cheapest, and the same whoever computes it, which directions that are kept in it need.
    """
    xp = namespace(covariance)
    if not is_numpy(covariance):
        return xp.permute_dims(xp.linalg.inv(xp.linalg.cholesky(covariance)), (0, 2, 1))
    factorize: Any
    invert: Any
    factorize, invert = get_lapack_funcs(("potrf", "trtri"), (covariance,))  # type: ignore[misc]
    roots = np.empty_like(covariance)
    for root, of_head in zip(roots, covariance, strict=True):
        upper, failed = factorize(of_head.T, overwrite_a=True)
        if failed:
            raise ValueError("head vectors vary too unevenly to be whitened: give whitening a strength above zero")
        root[:] = invert(upper, overwrite_c=True)[0]
    return roots


def check_whitening(strength: float | str) -> None:
    """Refuse a strength that is not "oas" or a share."""
    if isinstance(strength, str) and strength != "oas":
        raise ValueError(f"whitening must be 'oas', a number between 0 and 1, or None; got {strength!r}")
    if not isinstance(strength, str):
        check_share("whitening", strength)
