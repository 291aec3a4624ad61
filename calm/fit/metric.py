"""Metric of each head: the centring and whitening that precede the cosine similarity."""

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
    """Affine map of the vectors of each head, ``z = (x − centre) · transform``.

    With the transform of :func:`calm.fit.whitening`, the cosine similarity of mapped vectors is a form of linear
    discriminant analysis for each head.

    Parameters
    ----------
    centre : array of shape (n_heads, head_dim)
        Vector of each head that maps to zero.
    transform : array of shape (n_heads, head_dim, head_dim)
        Matrix of each head.
    leverage : array of shape (n_heads,)
        Weight of the scatter of one clip in the covariance behind the transform. Leave-one-out needs it.

    See Also
    --------
    calm.fit.whitening : Build the metric that whitens the within-class covariance.
    calm.fit.cosine_similarity : Compare head vectors with prototypes in a metric.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import Metric
    >>> metric = Metric(np.ones((1, 2)), 2 * np.eye(2)[None], np.zeros(1))
    >>> metric.project(np.array([[[1.0, 3.0]]]))
    array([[[0., 4.]]])
    """

    centre: Array
    transform: Array
    leverage: Array

    @property
    def parts(self) -> tuple[Array, Array, Array]:
        """Centre, transform and leverage, in the order of the constructor."""
        return self.centre, self.transform, self.leverage

    def astype(self, dtype: Any) -> Metric:
        """Convert the metric to another dtype.

        Parameters
        ----------
        dtype : dtype
            Floating-point dtype of the array library.

        Returns
        -------
        Metric
            Converted metric.
        """
        xp = namespace(self.centre)
        return Metric(*(xp.astype(part, dtype) for part in self.parts))

    def select_heads(self, heads: slice) -> Metric:
        """Select the metric of a slice of heads.

        Parameters
        ----------
        heads : slice
            Heads to select.

        Returns
        -------
        Metric
            Metric of the selected heads.
        """
        return Metric(*(part[heads] for part in self.parts))

    def project(self, X: Array) -> Array:
        """Map head vectors into the metric.

        Parameters
        ----------
        X : array of shape (n_vectors, n_heads, head_dim)
            Head vectors of clips, or class means.

        Returns
        -------
        array of shape (n_heads, n_vectors, head_dim)
            Mapped vectors. The first axis is the head.
        """
        xp = namespace(X)
        centred = xp.permute_dims(X, (1, 0, 2)) - self.centre[:, None, :]
        return xp.matmul(centred, self.transform)


def oas_shrinkage(covariance: Array, degrees: float) -> Array:
    """Compute the OAS shrinkage of covariances toward a scaled identity.

    The oracle approximating shrinkage (OAS) depends only on the covariance and its degrees of freedom. It is therefore
    available after :func:`calm.fit.merge_statistics`, when the clips are no longer in memory.

    Parameters
    ----------
    covariance : array of shape (n_heads, head_dim, head_dim)
        Sample covariance of each head. The result does not depend on its scale.
    degrees : float
        Degrees of freedom: the number of clips minus the number of classes.

    Returns
    -------
    array of shape (n_heads,)
        Shrinkage γ between 0 and 1. It is 1 if the covariance does not differ from a scaled identity.

    See Also
    --------
    calm.fit.whitening : Whiten head vectors with this shrinkage.
    sklearn.covariance.oas : Estimate a covariance with OAS shrinkage from samples.

    Notes
    -----
    The paper assumes n samples with a known mean. Here the class means are estimated, and the degrees of freedom take
    the place of n.

    References
    ----------
    Chen, Wiesel, Eldar and Hero, "Shrinkage algorithms for MMSE covariance estimation", IEEE Transactions on Signal
    Processing 58(10), 2010, arXiv 0907.4698.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import oas_shrinkage
    >>> covariance = np.diag([4.0, 1.0, 1.0])[None]
    >>> [oas_shrinkage(covariance, degrees).round(2).item() for degrees in (5, 50)]
    [1.0, 0.14]
    """
    xp = namespace(covariance)
    dim = covariance.shape[-1]
    squared_norm = xp.sum(covariance * covariance, axis=(-2, -1))
    trace = xp.sum(xp.linalg.diagonal(covariance), axis=-1)
    deviation = squared_norm - trace**2 / dim  # 0 for a multiple of the identity
    numerator = (1 - 2 / dim) * squared_norm + trace**2
    denominator = (degrees + 1 - 2 / dim) * deviation
    ones = xp.ones_like(numerator)
    ratio = numerator / xp.where(denominator > 0, denominator, ones)
    return xp.clip(xp.where(denominator > numerator * 1e-12, ratio, ones), 0.0, 1.0)


def whitening(stats: ClassStatistics, strength: float | str = "oas") -> Metric:
    """Build the metric that whitens the pooled within-class covariance of each head.

    Parameters
    ----------
    stats : ClassStatistics
        Statistics of the support clips, with scatter.
    strength : float or "oas", default="oas"
        Shrinkage γ of the covariance toward a scaled identity, between 0 and 1. "oas" computes it for each head by
        :func:`calm.fit.oas_shrinkage`. With 1, vectors are centred and scaled, but not whitened.

    Returns
    -------
    Metric
        Metric in float64. It maps a head that is constant over all clips to zero.

    Raises
    ------
    ValueError
        If the statistics have no scatter, the strength is neither "oas" nor between 0 and 1, or a covariance is not
        positive definite.

    See Also
    --------
    calm.fit.class_statistics : Compute the statistics.
    calm.fit.cosine_similarity : Compare head vectors with prototypes in the metric.
    sklearn.discriminant_analysis.LinearDiscriminantAnalysis : Classify by the same covariance.

    Notes
    -----
    The covariance is ``Σ = (1 − γ)·S + γ·tr(S)/D·I``, where ``S`` is the pooled within-class covariance and ``D`` the
    dimension of the head. The centre is the mean of the class means. If no class has two clips, there is no
    covariance, and vectors are only centred.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import class_statistics, whitening
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 1, 2)) * [5.0, 0.1]
    >>> metric = whitening(class_statistics(X, np.zeros(200, int), 1), 0.0)
    >>> np.abs(np.cov(metric.project(X)[0].T, ddof=1)).round(6)
    array([[1., 0.],
           [0., 1.]])
    """
    check_whitening(strength)
    if stats.scatter is None:
        raise ValueError("whitening needs statistics with scatter: use class_statistics(..., scatter=True)")
    xp, scatter, means = namespace(stats.means), to_float64(stats.scatter), to_float64(stats.means)
    has_clips = stats.counts > 0
    classes = convert_like(scatter, np.flatnonzero(has_clips))
    centre = xp.mean(means[classes], axis=0)
    dim = centre.shape[1]
    identity = convert_like(scatter, np.eye(dim), scatter.dtype)
    # A head that is constant over all clips has rounding errors only; the metric maps it to zero.
    rounding = (64 * epsilon(stats.means)) ** 2 * xp.max(means * means, axis=(0, 2)) + tiny(means)
    varies_between = xp.max((means - centre)[classes] ** 2, axis=(0, 2)) > rounding
    degrees = float(stats.counts.sum() - has_clips.sum())
    if degrees < 0.5:  # 0 up to rounding, because sample weights need not be whole numbers
        keeps_head = xp.astype(varies_between, scatter.dtype)
        return Metric(centre, keeps_head[:, None, None] * identity, xp.zeros_like(rounding))

    variance = xp.sum(xp.linalg.diagonal(scatter), axis=-1) / (dim * degrees)
    varies_within = variance > rounding
    keeps_head = xp.astype(varies_within | varies_between, scatter.dtype)
    scale = xp.where(varies_within, variance, xp.ones_like(variance))
    # Each head is scaled to a mean variance of 1, or of 0 if it does not vary within classes.
    factor = xp.astype(varies_within, scatter.dtype) / (scale * degrees)
    covariance = scatter * factor[:, None, None]
    if isinstance(strength, str):
        gamma = oas_shrinkage(covariance, degrees)
    else:
        gamma = xp.ones_like(variance) * float(strength)
    gamma = xp.where(varies_within, gamma, xp.ones_like(variance))
    covariance *= (1 - gamma)[:, None, None]
    # At least the rounding error is added, so that directions without variance are not stretched without limit.
    least = max(1e-10, dim * epsilon(stats.scatter))
    covariance += xp.clip(gamma, least, None)[:, None, None] * identity
    stretch = keeps_head / xp.sqrt(scale)
    return Metric(centre, _inverse_cholesky(covariance) * stretch[:, None, None], (1 - gamma) / degrees)


def _inverse_cholesky(covariance: Array) -> Array:
    """Return ``U⁻¹`` of each covariance ``Σ = UᵀU`` with upper triangular ``U``; ``x·U⁻¹`` is then white.

    The Cholesky factor is cheaper than other square roots of a matrix. It is also unique, so that directions learned in
    the metric stay valid when the metric is computed again.
    """
    xp = namespace(covariance)
    if not is_numpy(covariance):
        return xp.permute_dims(xp.linalg.inv(xp.linalg.cholesky(covariance)), (0, 2, 1))
    factorize: Any
    invert: Any
    factorize, invert = get_lapack_funcs(("potrf", "trtri"), (covariance,))  # type: ignore[misc]
    inverses = np.empty_like(covariance)
    for inverse, head_covariance in zip(inverses, covariance, strict=True):
        upper, failed = factorize(head_covariance.T, overwrite_a=True)
        if failed:
            raise ValueError("covariance of head vectors is not positive definite: use whitening='oas' or closer to 1")
        inverse[:] = invert(upper, overwrite_c=True)[0]
    return inverses


def check_whitening(strength: float | str) -> None:
    """Raise ValueError if the strength is neither "oas" nor a number between 0 and 1."""
    if isinstance(strength, str) and strength != "oas":
        raise ValueError(f"whitening must be 'oas', a number between 0 and 1, or None; got {strength!r}")
    if not isinstance(strength, str):
        check_share("whitening", strength)
