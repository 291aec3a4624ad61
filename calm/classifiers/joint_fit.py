"""Learning the directions of all heads together, from a support set that is read a few heads at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import get_blas_funcs

from calm.classifiers.support_set import SupportSet
from calm.fit import Metric, solve_ridge, unit_vectors
from calm.fit.arrays import Array, convert_like, is_numpy, namespace, to_numpy
from calm.fit.parallel import chunk_slices, parallel_map
from calm.fit.vote import zeros
from calm.machine import available_cores

#: Most clips that one kernel holds (161 MiB in float32). More are dealt out evenly to several, whose models are
#: averaged, so that memory does not depend on their number (Zhang, Duchi and Wainwright, 2015); it costs accuracy.
MAX_CLIPS = 6500
#: Numbers in one read of a support set for the kernel: products of many are faster, and held beside it.
_KERNEL_NUMBERS = 2**22
#: Heads that a core lays out together.
_HEADS_AT_ONCE = 4


@dataclass(frozen=True)
class PreviousPrototypes:
    """Class means that stand for clips which are no longer there."""

    prototypes: Array  #: (C', K, D)
    classes: NDArray[np.int64]  #: (C',)
    counts: NDArray[np.floating]  #: (C',) clips that each stands for


def fit_jointly(
    support: SupportSet,
    counts: NDArray[np.floating],
    get_metric: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
    strength: float,
    previous: PreviousPrototypes | None = None,
) -> Array:
    """Fit one ridge regression over all heads, the more reliable ones with more weight; see :mod:`calm.fit.ridge`.

    Every class counts the same, however many clips it has.

    Parameters
    ----------
    support : SupportSet
    counts : array (C,)
        Clips of each class, those before included.
    get_metric : callable
        From some of the heads to their metric, or None for head vectors as they are.
    head_weights : array (K,)
        Sums to one.
    strength : float
        Of the ridge.
    previous : PreviousPrototypes, optional

    Returns
    -------
    array (C, K, D)
        Directions, in each head's metric.
    """
    examples = Examples.from_support(support, counts, previous)
    shares = examples.split_evenly(MAX_CLIPS)
    kernels = compute_kernels(support, examples, shares, get_metric, head_weights)
    dual = zeros(kernels[0], (len(examples.y), support.n_classes))
    for share in shares:
        # Each kernel is given up as soon as it is solved for: it is as large as the directions.
        of_share = solve_ridge(
            kernels.pop(0), examples.y[share], support.n_classes, strength, examples.balanced_weights[share]
        )
        dual[convert_like(dual, share)] = of_share / len(shares)
    return _compute_directions(support, examples, dual, get_metric, head_weights)


def compute_kernels(
    support: SupportSet,
    examples: Examples,
    shares: list[NDArray[np.int64]],
    get_metric: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
) -> list[Array]:
    """Compute the kernel ``Σ_h w_h·cos`` of each share of the examples."""
    kernels = [zeros(support.heads.like, (len(share), len(share))) for share in shares]

    def add_heads(part: slice, X: Array) -> None:
        X = examples.with_previous(X, part)
        vectors = zeros(X, X.shape)

        def lay_out(few: slice) -> None:
            own = slice(part.start + few.start, part.start + few.stop)
            unit = unit_vectors(_project(X[:, few], get_metric(own)))
            scale = convert_like(X, np.sqrt(head_weights[own]), X.dtype)[:, None]
            vectors[:, few] = namespace(X).permute_dims(unit, (1, 0, 2)) * scale

        few = min(_HEADS_AT_ONCE, -(-X.shape[1] // available_cores())) if is_numpy(X) else X.shape[1]
        parallel_map(lay_out, chunk_slices(X.shape[1], few))
        flat = namespace(X).reshape(vectors, (X.shape[0], -1))
        for share, kernel in zip(shares, kernels, strict=True):
            _add_inner_products(kernel, flat[convert_like(X, share)] if len(shares) > 1 else flat)

    support.for_each_block(add_heads, numbers=_KERNEL_NUMBERS, threads=1)
    for kernel in kernels:
        _copy_lower_triangle_to_upper(kernel)
    return kernels


def _compute_directions(
    support: SupportSet,
    examples: Examples,
    dual: Array,
    get_metric: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
) -> Array:
    """Fold coefficients of examples ``(n, C)`` into directions of heads ``(C, K, D)``."""
    _, heads, dim = support.heads.shape
    directions = zeros(dual, (support.n_classes, heads, dim))

    def fold(part: slice, X: Array) -> None:
        xp = namespace(X)
        unit = xp.permute_dims(unit_vectors(_project(examples.with_previous(X, part), get_metric(part))), (1, 0, 2))
        weighted = unit * convert_like(X, head_weights[part], X.dtype)[None, :, None]
        directions[:, part] = xp.reshape(dual.T @ xp.reshape(weighted, (unit.shape[0], -1)), (-1, *unit.shape[1:]))

    support.for_each_block(fold)
    return directions


def _add_inner_products(kernel: Array, vectors: Array) -> None:
    """Add the inner products of vectors ``(n, F)`` to a kernel; in numpy, to its lower triangle only."""
    if not is_numpy(kernel):
        kernel += vectors @ vectors.T
        return
    # In place: seen as LAPACK sees arrays, rows are columns.
    get_blas_funcs("syrk", (kernel,))(1.0, vectors.T, beta=1.0, c=kernel.T, trans=1, overwrite_c=1)


def _copy_lower_triangle_to_upper(kernel: Array) -> None:
    """Fill the upper triangle from the lower one, row by row."""
    if is_numpy(kernel):
        for row in range(len(kernel)):
            kernel[row, row + 1 :] = kernel[row + 1 :, row]


@dataclass(frozen=True)
class Examples:
    """The clips of a support set, after what stands for clips that came before."""

    y: NDArray[np.int64]
    balanced_weights: NDArray[np.float64]  #: of clips, such that classes count the same
    previous: PreviousPrototypes | None

    @classmethod
    def from_support(
        cls, support: SupportSet, counts: NDArray[np.floating], previous: PreviousPrototypes | None = None
    ) -> Examples:
        """Gather them; ``counts`` are of all clips there ever were, by class."""
        y, weights = support.y, np.ones(len(support.y)) if support.weights is None else support.weights
        if previous is not None:
            y, weights = np.concatenate([previous.classes, y]), np.concatenate([previous.counts, weights])
        balance = counts.sum() / (len(np.unique(y)) * counts[y])
        return cls(y, weights * balance, previous)

    def with_previous(self, X: Array, part: slice) -> Array:
        """Put what stands for earlier clips before clips ``X`` of some heads."""
        if self.previous is None:
            return X
        return namespace(X).concat([self.previous.prototypes[:, part], X])

    def split_evenly(self, most: int) -> list[NDArray[np.int64]]:
        """Deal the clips of every class out to as few shares as are no larger than that."""
        shares = -(-len(self.y) // most)
        by_class = np.argsort(self.y, kind="stable")
        return [np.sort(by_class[i::shares]) for i in range(shares)]


def _project(X: Array, metric: Metric | None) -> Array:
    return namespace(X).permute_dims(X, (1, 0, 2)) if metric is None else metric.project(X)


def relative_head_norms(directions: Array) -> NDArray[np.float64]:
    """Return the length of each head's direction for each class, ``(K, C)``, as shares that sum to one over heads."""
    xp = namespace(directions)
    squares = [xp.sum(of_class**2, axis=-1) for of_class in directions]  # one by one: directions are large
    lengths = to_numpy(xp.sqrt(xp.stack(squares, axis=1)))
    total = lengths.sum(axis=0, keepdims=True, dtype=np.float64)
    return np.where(total > 0, lengths / np.where(total > 0, total, 1.0), 1 / len(lengths))
