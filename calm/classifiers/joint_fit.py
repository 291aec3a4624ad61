"""Joint fit: kernel ridge regression over all heads of a support set that is read a few heads at a time."""

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

#: Maximum number of clips of one kernel matrix (161 MiB in float32). A larger support set is split evenly, and the
#: models of all splits are averaged (Zhang, Duchi and Wainwright, 2015). This bounds memory, at some cost in accuracy.
MAX_CLIPS = 6500
#: Number of values in one read of the support set for the kernel. Large matrix products are faster.
_KERNEL_NUMBERS = 2**22
#: Number of heads that one core transforms at a time.
_HEADS_PER_CHUNK = 4


@dataclass(frozen=True)
class PreviousPrototypes:
    """Class means that replace the clips of earlier fits."""

    prototypes: Array  #: (C', K, D)
    classes: NDArray[np.int64]  #: (C',) class numbers
    counts: NDArray[np.floating]  #: (C',) number of clips that each prototype replaces


def fit_jointly(
    support: SupportSet,
    counts: NDArray[np.floating],
    get_metric: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
    strength: float,
    previous: PreviousPrototypes | None = None,
) -> Array:
    """Fit one ridge regression over all heads, weighted by their reliability; see :mod:`calm.fit.ridge`.

    All classes have the same total weight, independent of their numbers of clips.

    Parameters
    ----------
    support : SupportSet
        Clips to fit on.
    counts : array of shape (n_classes,)
        Number of clips of each class, including the clips that ``previous`` replaces.
    get_metric : callable
        Function from a slice of heads to their metric, or to None for head vectors without whitening.
    head_weights : array of shape (n_heads,)
        Weight of each head. The weights sum to one.
    strength : float
        Strength λ of the ridge penalty.
    previous : PreviousPrototypes, default=None
        Prototypes that replace the clips of earlier fits.

    Returns
    -------
    array of shape (n_classes, n_heads, head_dim)
        Directions in the metric of each head.
    """
    examples = Examples.from_support(support, counts, previous)
    splits = examples.split_evenly(MAX_CLIPS)
    kernels = compute_kernels(support, examples, splits, get_metric, head_weights)
    dual = zeros(kernels[0], (len(examples.y), support.n_classes))
    for split in splits:
        # Each kernel is released once it is solved, because it is as large as the directions.
        dual_of_split = solve_ridge(
            kernels.pop(0), examples.y[split], support.n_classes, strength, examples.balanced_weights[split]
        )
        dual[convert_like(dual, split)] = dual_of_split / len(splits)
    return _compute_directions(support, examples, dual, get_metric, head_weights)


def compute_kernels(
    support: SupportSet,
    examples: Examples,
    splits: list[NDArray[np.int64]],
    get_metric: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
) -> list[Array]:
    """Compute the kernel matrix ``Σ_h w_h·cos`` of each split of the examples."""
    kernels = [zeros(support.heads.like, (len(split), len(split))) for split in splits]

    def add_block(block: slice, X: Array) -> None:
        """Add the inner products of a block of heads to the kernel of each split."""
        X = examples.with_previous(X, block)
        vectors = zeros(X, X.shape)

        def transform_chunk(chunk: slice) -> None:
            heads = slice(block.start + chunk.start, block.start + chunk.stop)
            unit = unit_vectors(_project(X[:, chunk], get_metric(heads)))
            scale = convert_like(X, np.sqrt(head_weights[heads]), X.dtype)[:, None]
            vectors[:, chunk] = namespace(X).permute_dims(unit, (1, 0, 2)) * scale

        chunk_size = min(_HEADS_PER_CHUNK, -(-X.shape[1] // available_cores())) if is_numpy(X) else X.shape[1]
        parallel_map(transform_chunk, chunk_slices(X.shape[1], chunk_size))
        flat = namespace(X).reshape(vectors, (X.shape[0], -1))
        for split, kernel in zip(splits, kernels, strict=True):
            _add_inner_products(kernel, flat[convert_like(X, split)] if len(splits) > 1 else flat)

    support.for_each_block(add_block, numbers=_KERNEL_NUMBERS, threads=1)
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
    """Compute directions of heads ``(C, K, D)`` from the dual coefficients of examples ``(n, C)``."""
    _, n_heads, dim = support.heads.shape
    directions = zeros(dual, (support.n_classes, n_heads, dim))

    def compute_block(heads: slice, X: Array) -> None:
        xp = namespace(X)
        unit = xp.permute_dims(unit_vectors(_project(examples.with_previous(X, heads), get_metric(heads))), (1, 0, 2))
        weighted = unit * convert_like(X, head_weights[heads], X.dtype)[None, :, None]
        directions[:, heads] = xp.reshape(dual.T @ xp.reshape(weighted, (unit.shape[0], -1)), (-1, *unit.shape[1:]))

    support.for_each_block(compute_block)
    return directions


def _add_inner_products(kernel: Array, vectors: Array) -> None:
    """Add inner products of vectors ``(n, F)`` to a kernel in place; with numpy, only to its lower triangle."""
    if not is_numpy(kernel):
        kernel += vectors @ vectors.T
        return
    # BLAS is column-major. The transposed view avoids a copy, and the sum is written in place.
    get_blas_funcs("syrk", (kernel,))(1.0, vectors.T, beta=1.0, c=kernel.T, trans=1, overwrite_c=1)


def _copy_lower_triangle_to_upper(kernel: Array) -> None:
    """Complete a symmetric numpy kernel in place, row by row; tensors are complete already."""
    if is_numpy(kernel):
        for row in range(len(kernel)):
            kernel[row, row + 1 :] = kernel[row + 1 :, row]


@dataclass(frozen=True)
class Examples:
    """Examples of the ridge regression: previous prototypes, if any, followed by the clips of the support set."""

    y: NDArray[np.int64]  #: (n,) class numbers
    balanced_weights: NDArray[np.float64]  #: (n,) weights that are equal in total for all classes
    previous: PreviousPrototypes | None

    @classmethod
    def from_support(
        cls, support: SupportSet, counts: NDArray[np.floating], previous: PreviousPrototypes | None = None
    ) -> Examples:
        """Build the examples; ``counts`` are the numbers of all clips of each class, previous and new."""
        y, weights = support.y, np.ones(len(support.y)) if support.weights is None else support.weights
        if previous is not None:
            y, weights = np.concatenate([previous.classes, y]), np.concatenate([previous.counts, weights])
        balance = counts.sum() / (len(np.unique(y)) * counts[y])
        return cls(y, weights * balance, previous)

    def with_previous(self, X: Array, heads: slice) -> Array:
        """Put the previous prototypes of some heads before the clips ``X`` of these heads."""
        if self.previous is None:
            return X
        return namespace(X).concat([self.previous.prototypes[:, heads], X])

    def split_evenly(self, max_size: int) -> list[NDArray[np.int64]]:
        """Split the examples into as few stratified subsets of at most ``max_size`` as possible."""
        n_splits = -(-len(self.y) // max_size)
        by_class = np.argsort(self.y, kind="stable")
        return [np.sort(by_class[i::n_splits]) for i in range(n_splits)]


def _project(X: Array, metric: Metric | None) -> Array:
    """Map head vectors ``(n, K, D)`` into the metric, with heads first: ``(K, n, D)``."""
    return namespace(X).permute_dims(X, (1, 0, 2)) if metric is None else metric.project(X)


def relative_head_norms(directions: Array) -> NDArray[np.float64]:
    """Return the norm of each head's direction for each class, ``(K, C)``, scaled to sum to one over heads."""
    xp = namespace(directions)
    # Class by class, because directions are large and their squares would double the memory.
    squares = [xp.sum(class_directions**2, axis=-1) for class_directions in directions]
    lengths = to_numpy(xp.sqrt(xp.stack(squares, axis=1)))
    total = lengths.sum(axis=0, keepdims=True, dtype=np.float64)
    return np.where(total > 0, lengths / np.where(total > 0, total, 1.0), 1 / len(lengths))
