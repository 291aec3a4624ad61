"""The weighted vote, for posteriors that are there and, block by block, for those that need never be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from array_api_compat import device

from calm.fit.arrays import Array, is_numpy, namespace
from calm.fit.metric import Metric
from calm.fit.parallel import chunk_slices
from calm.fit.posterior import unit_vectors

#: Numbers in a block of posteriors that a processor core's own cache holds beside the vectors it is made from.
_CACHED = 2**18
#: On an accelerator, blocks are as large as keeps it busy.
_ON_DEVICE = 2**26
_CLIPS = 256
#: Above this, the largest exponent of a softmax of cosines is far from where float32 overflows (88).
_SAFE_TEMPERATURE = 0.03


def soft_vote(posterior: Array, weights: Array) -> Array:
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

    >>> import numpy as np
    >>> p = np.array([[[0.9, 0.1], [0.4, 0.6]]])
    >>> soft_vote(p, np.array([[1.0, 0.0], [0.0, 1.0]]))
    array([[0.9, 0.6]])
    """
    return namespace(posterior).sum(posterior * weights[None], axis=1)


@dataclass(frozen=True)
class SoftVoter:
    """:func:`soft_vote` of clips' head vectors without the posteriors ever being held whole.

    Similarity, softmax and weighting are done on a few heads of a few clips at a time, small enough to stay in a
    processor's cache.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(5, 3, 4))
    >>> voter = SoftVoter.of(X[:2], np.full((3, 2), 1 / 3), 0.07)
    >>> voter(X).shape
    (5, 2)
    """

    classes: Array  #: (K, D, C) unit prototypes over τ
    weights: Array  #: (K, C)
    metric: Metric | None
    safe: bool  #: whether the softmax needs no maximum taken off

    @classmethod
    def of(cls, prototypes: Array, weights: Array, temperature: float, metric: Metric | None = None) -> SoftVoter:
        """Prepare the vote of prototypes ``(C, K, D)`` with weights ``(K, C)``."""
        xp = namespace(prototypes)
        heads_first = xp.permute_dims(prototypes, (1, 0, 2)) if metric is None else metric.project(prototypes)
        scaled = unit_vectors(heads_first)
        scaled /= temperature
        return cls(xp.permute_dims(scaled, (0, 2, 1)), weights, metric, temperature >= _SAFE_TEMPERATURE)

    def __call__(self, X: Array) -> Array:
        """Score clips ``(n, K, D)``; returns ``(n, C)``."""
        scores = zeros(X, (X.shape[0], self.weights.shape[1]))
        for clips, heads in blocks(X, max(X.shape[2], self.weights.shape[1])):
            scores[clips] += self._block(X[clips, heads], heads)
        return scores

    def of_heads(self, X: Array) -> Array:
        """Return what each head adds to the scores of clips ``(n, K, D)``: ``(n, K, C)``, held whole."""
        return namespace(X).permute_dims(self._votes(X, slice(None)), (1, 0, 2))

    def _block(self, X: Array, heads: slice) -> Array:
        return namespace(X).sum(self._votes(X, heads), axis=0)

    def _votes(self, X: Array, heads: slice) -> Array:
        xp = namespace(X)
        vectors = xp.permute_dims(X, (1, 0, 2)) if self.metric is None else self.metric.of(heads).project(X)
        p = xp.matmul(unit_vectors(vectors), self.classes[heads])  # (heads, clips, C)
        if not self.safe:
            p -= xp.max(p, axis=-1, keepdims=True)
        xp.exp(p, out=p)
        # As a matrix product, a sum costs a third.
        total = xp.matmul(p, xp.ones_like(p[0, :1, :].T))
        p *= self.weights[heads][:, None, :]
        p /= total
        return p


@dataclass(frozen=True)
class LinearVoter:
    """A sum over heads of ``⟨x / ‖x‖, a[c, h]⟩``, in each head's metric, as one matrix product.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[[3.0, 4.0], [0.0, 2.0]]])
    >>> LinearVoter(np.ones((1, 2, 2)), None)(X).round(2)
    array([[2.4]])
    """

    directions: Array  #: (C, K, D)
    metric: Metric | None

    def __call__(self, X: Array) -> Array:
        """Score clips ``(n, K, D)``; returns ``(n, C)``."""
        xp = namespace(X)
        classes = self.directions.shape[0]
        scores = zeros(X, (X.shape[0], classes))
        for clips, heads in blocks(X, X.shape[2]):
            unit = unit_heads(X[clips, heads], None if self.metric is None else self.metric.of(heads))
            of_heads = xp.reshape(self.directions[:, heads], (classes, -1))
            scores[clips] += unit @ of_heads.T
        return scores

    def of_heads(self, X: Array) -> Array:
        """Return what each head adds to the scores of clips ``(n, K, D)``: ``(n, K, C)``, held whole."""
        xp = namespace(X)
        unit = xp.reshape(unit_heads(X, self.metric), X.shape)
        products = xp.matmul(xp.permute_dims(unit, (1, 0, 2)), xp.permute_dims(self.directions, (1, 2, 0)))
        return xp.permute_dims(products, (1, 0, 2))


def unit_heads(X: Array, metric: Metric | None) -> Array:
    """Bring head vectors ``(n, K, D)`` to length one in their metric and lay them side by side, ``(n, K · D)``."""
    xp = namespace(X)
    vectors = X if metric is None else xp.permute_dims(metric.project(X), (1, 0, 2))
    return xp.reshape(unit_vectors(vectors), (X.shape[0], -1))


def blocks(X: Array, width: int) -> Iterator[tuple[slice, slice]]:
    """Cut clips ``(n, K, D)`` into blocks of clips and heads, of ``width`` numbers each, as is fast where they are."""
    n, heads, _ = X.shape
    numbers = _CACHED if is_numpy(X) else _ON_DEVICE
    clips = min(n, _CLIPS) if is_numpy(X) else n
    some = max(1, numbers // max(1, clips * width))
    if some == 1:
        clips = max(1, min(clips, numbers // width))
    for chosen in chunk_slices(n, clips or 1):
        for few in chunk_slices(heads, some):
            yield chosen, few


def zeros(x: Array, shape: tuple[int, ...]) -> Array:
    """Return zeros where ``x`` is, in its precision."""
    return namespace(x).zeros(shape, dtype=x.dtype, device=device(x))
