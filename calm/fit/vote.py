"""Weighted votes over heads, either from posteriors or block by block from head vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from array_api_compat import device

from calm.fit.arrays import Array, is_numpy, namespace
from calm.fit.metric import Metric
from calm.fit.parallel import chunk_slices
from calm.fit.posterior import unit_vectors

#: Array elements in a block on the CPU: the posteriors and the head vectors fit into the cache of one core.
_CACHED = 2**18
#: Array elements in a block on an accelerator: enough work to keep it busy.
_ON_DEVICE = 2**26
#: Maximum number of clips in a block on the CPU.
_CLIPS = 256
#: At or above this temperature, ``exp(cos / τ)`` does not overflow float32, whose largest exponent is 88.
_SAFE_TEMPERATURE = 0.03


def soft_vote(posterior: Array, weights: Array) -> Array:
    """Combine the posteriors of all heads by class-conditional weights.

    Parameters
    ----------
    posterior : array of shape (n_clips, n_heads, n_classes)
        Class posterior of each head.
    weights : array of shape (n_heads, n_classes)
        Head weights, which sum to 1 over heads for each class.

    Returns
    -------
    array of shape (n_clips, n_classes)
        ``score[i, c] = Σ_h w[h, c] · p[i, h, c]``, in [0, 1]. The class with the highest score is the prediction.
        A row need not sum to 1, because each class has its own weights.

    See Also
    --------
    calm.fit.SoftVoter : Compute the same scores from head vectors, with less memory.
    calm.fit.head_weights : Compute the weights.
    calm.fit.sparse_vote : Count one vote per head.

    References
    ----------
    CALM, arXiv 2602.07077.

    Examples
    --------
    The first head decides on class 0, the second head on class 1:

    >>> import numpy as np
    >>> from calm.fit import soft_vote
    >>> p = np.array([[[0.9, 0.1], [0.4, 0.6]]])
    >>> soft_vote(p, np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([[0.9, 0.6]])
    """
    return namespace(posterior).sum(posterior * weights[None], axis=1)


@dataclass(frozen=True)
class SoftVoter:
    """Weighted soft vote that scores head vectors block by block.

    The scores equal those of :func:`calm.fit.soft_vote`, but the posteriors of all clips and heads are never in memory
    at once. Similarity, softmax and weighting run on blocks of clips and heads that fit into the processor's cache.

    Attributes
    ----------
    classes : array of shape (n_heads, head_dim, n_classes)
        Unit prototypes, divided by the softmax temperature.
    weights : array of shape (n_heads, n_classes)
        Head weights, which sum to 1 over heads for each class.
    metric : Metric or None
        Metric of each head in which the cosine is taken.
    safe : bool
        Whether the temperature is high enough for a softmax without overflow protection.

    See Also
    --------
    calm.fit.soft_vote : Combine posteriors that are in memory.
    calm.fit.LinearVoter : Score by a direction for each head and class.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import SoftVoter
    >>> X = np.random.default_rng(0).normal(size=(5, 3, 4))
    >>> voter = SoftVoter.from_prototypes(X[:2], np.full((3, 2), 1 / 3), 0.07)
    >>> voter(X).shape
    (5, 2)
    """

    classes: Array
    weights: Array
    metric: Metric | None
    safe: bool

    @classmethod
    def from_prototypes(
        cls, prototypes: Array, weights: Array, temperature: float, metric: Metric | None = None
    ) -> SoftVoter:
        """Build a voter from prototypes and head weights.

        Parameters
        ----------
        prototypes : array of shape (n_classes, n_heads, head_dim)
            Class means of head vectors.
        weights : array of shape (n_heads, n_classes)
            Head weights, which sum to 1 over heads for each class.
        temperature : float
            Softmax temperature τ, above 0.
        metric : Metric, default=None
            Metric of each head in which the cosine is taken. None compares the vectors without centring or whitening.

        Returns
        -------
        SoftVoter
            Voter with the dtype and device of the prototypes.
        """
        xp = namespace(prototypes)
        heads_first = xp.permute_dims(prototypes, (1, 0, 2)) if metric is None else metric.project(prototypes)
        scaled = unit_vectors(heads_first)
        scaled /= temperature
        return cls(xp.permute_dims(scaled, (0, 2, 1)), weights, metric, temperature >= _SAFE_TEMPERATURE)

    def __call__(self, X: Array) -> Array:
        """Score clips.

        Parameters
        ----------
        X : array of shape (n_clips, n_heads, head_dim)
            Head vectors.

        Returns
        -------
        array of shape (n_clips, n_classes)
            Score of each class.
        """
        scores = zeros(X, (X.shape[0], self.weights.shape[1]))
        for clips, heads in iterate_blocks(X, max(X.shape[2], self.weights.shape[1])):
            scores[clips] += namespace(X).sum(self._weighted_posteriors(X[clips, heads], heads), axis=0)
        return scores

    def score_heads(self, X: Array) -> Array:
        """Compute the contribution of each head to the scores; the whole result is in memory.

        Parameters
        ----------
        X : array of shape (n_clips, n_heads, head_dim)
            Head vectors.

        Returns
        -------
        array of shape (n_clips, n_heads, n_classes)
            Contributions, whose sum over heads is the score.
        """
        return namespace(X).permute_dims(self._weighted_posteriors(X, slice(None)), (1, 0, 2))

    def _weighted_posteriors(self, X: Array, heads: slice) -> Array:
        """Return the posteriors of a slice of heads times their weights, of shape (n_heads, n_clips, n_classes)."""
        xp = namespace(X)
        vectors = xp.permute_dims(X, (1, 0, 2)) if self.metric is None else self.metric.select_heads(heads).project(X)
        p = xp.matmul(unit_vectors(vectors), self.classes[heads])
        if not self.safe:
            p -= xp.max(p, axis=-1, keepdims=True)
        xp.exp(p, out=p)
        # A matrix product sums over the short last axis in a third of the time of a sum.
        total = xp.matmul(p, xp.ones_like(p[0, :1, :].T))
        p *= self.weights[heads][:, None, :]
        p /= total
        return p


@dataclass(frozen=True)
class LinearVoter:
    """Linear scores of unit head vectors, summed over heads.

    The score of class c is ``Σ_h ⟨z[h] / ‖z[h]‖, a[c, h]⟩``, where ``z`` is the head vector in the metric and ``a`` the
    direction. It is computed as one matrix product over all heads of a block.

    Parameters
    ----------
    directions : array of shape (n_classes, n_heads, head_dim)
        Direction of each class in each head.
    metric : Metric or None
        Metric of each head. None uses the vectors without centring or whitening.

    See Also
    --------
    calm.fit.solve_ridge : Learn dual coefficients, from which directions follow.
    calm.fit.SoftVoter : Score by a weighted vote of softmax posteriors.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.fit import LinearVoter
    >>> X = np.array([[[3.0, 4.0], [0.0, 2.0]]])
    >>> LinearVoter(np.ones((1, 2, 2)), None)(X).round(2)
    array([[2.4]])
    """

    directions: Array
    metric: Metric | None

    def __call__(self, X: Array) -> Array:
        """Score clips.

        Parameters
        ----------
        X : array of shape (n_clips, n_heads, head_dim)
            Head vectors.

        Returns
        -------
        array of shape (n_clips, n_classes)
            Score of each class.
        """
        xp = namespace(X)
        n_classes = self.directions.shape[0]
        scores = zeros(X, (X.shape[0], n_classes))
        for clips, heads in iterate_blocks(X, X.shape[2]):
            unit = _flatten_unit_heads(
                X[clips, heads], None if self.metric is None else self.metric.select_heads(heads)
            )
            directions = xp.reshape(self.directions[:, heads], (n_classes, -1))
            scores[clips] += unit @ directions.T
        return scores

    def score_heads(self, X: Array) -> Array:
        """Compute the contribution of each head to the scores; the whole result is in memory.

        Parameters
        ----------
        X : array of shape (n_clips, n_heads, head_dim)
            Head vectors.

        Returns
        -------
        array of shape (n_clips, n_heads, n_classes)
            Contributions, whose sum over heads is the score.
        """
        xp = namespace(X)
        unit = xp.reshape(_flatten_unit_heads(X, self.metric), X.shape)
        products = xp.matmul(xp.permute_dims(unit, (1, 0, 2)), xp.permute_dims(self.directions, (1, 2, 0)))
        return xp.permute_dims(products, (1, 0, 2))


def _flatten_unit_heads(X: Array, metric: Metric | None) -> Array:
    """Scale head vectors to unit length in their metric and flatten them to (n_clips, n_heads · head_dim)."""
    xp = namespace(X)
    vectors = X if metric is None else xp.permute_dims(metric.project(X), (1, 0, 2))
    return xp.reshape(unit_vectors(vectors), (X.shape[0], -1))


def iterate_blocks(X: Array, width: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of clips and of heads that cover head vectors in blocks of a size that suits their device.

    ``width`` is the number of array elements per clip and head.
    """
    n_clips, n_heads, _ = X.shape
    elements = _CACHED if is_numpy(X) else _ON_DEVICE
    block_clips = min(n_clips, _CLIPS) if is_numpy(X) else n_clips
    block_heads = max(1, elements // max(1, block_clips * width))
    if block_heads == 1:
        block_clips = max(1, min(block_clips, elements // width))
    for clips in chunk_slices(n_clips, block_clips or 1):
        for heads in chunk_slices(n_heads, block_heads):
            yield clips, heads


def zeros(x: Array, shape: tuple[int, ...]) -> Array:
    """Return zeros with the dtype and on the device of ``x``."""
    return namespace(x).zeros(shape, dtype=x.dtype, device=device(x))
