"""Learning the directions of all heads together, from a support set that is read a few heads at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from calm.base import SupportSet
from calm.fit import (
    Metric,
    RidgeFit,
    fit_ridge,
    leave_one_out_kernel,
    left_out,
    solve_ridge,
    unit_vectors,
)
from calm.fit.arrays import Array, beside, is_numpy, namespace, to_numpy
from calm.fit.leave_one_out import LeftOut
from calm.fit.parallel import each, spans
from calm.fit.vote import zeros

#: Most clips that one kernel holds (161 MiB in float32). More are dealt out evenly to several, whose models are
#: averaged, so that memory does not depend on their number (Zhang, Duchi and Wainwright, 2015); it costs accuracy.
MOST_CLIPS = 6500
#: Most clips on which a ridge strength is chosen, by an eigensystem of several times the kernel's memory.
_CLIPS_OF_CHOICE = 1600
#: Leaving a clip out of the whitening is worked out where it matters: up to so many clips a dimension.
_CLIPS_PER_DIM = 20
#: Numbers in one read of a support set for the kernel, and clips on a side of what is multiplied at a time.
_KERNEL_NUMBERS = 2**22
_TILE = 1024


@dataclass(frozen=True)
class JointFit:
    """What was learnt of all heads together."""

    directions: Array  #: (C, K, D) in each head's metric
    strength: float  #: of the ridge
    temperature: float  #: of the softmax of scores
    left_out_scores: NDArray[np.float64]  #: (n, C) of each clip by the model without it; NaN where that is not known


@dataclass(frozen=True)
class Earlier:
    """Class means that stand for clips which are no longer there."""

    prototypes: Array  #: (C', K, D)
    classes: NDArray[np.int64]  #: (C',)
    counts: NDArray[np.floating]  #: (C',) clips that each stands for


def fit_jointly(
    support: SupportSet,
    prototypes: Array,
    counts: NDArray[np.floating],
    metric_of: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
    *,
    strength: float | None = None,
    cross_fit: bool = True,
    earlier: Earlier | None = None,
) -> JointFit:
    """Fit one ridge regression over all heads, the more reliable ones with more weight; see :mod:`calm.fit.ridge`.

    Every class counts the same, however many clips it has.

    Parameters
    ----------
    support : SupportSet
    prototypes : array (C, K, D)
    counts : array (C,)
        Of the clips behind the prototypes.
    metric_of : callable
        From some of the heads to their metric, or None for head vectors as they are.
    head_weights : array (K,)
        Sums to one.
    strength : float, optional
        Of the ridge; chosen by the log loss of left-out clips unless given.
    cross_fit : bool
        Take a left-out clip out of the metric too.
    earlier : Earlier, optional

    Returns
    -------
    JointFit
    """
    examples = _Examples.of(support, counts, earlier)
    shares = examples.dealt_out(MOST_CLIPS)
    kernels, seen = _kernels(support, examples, shares, prototypes, metric_of, head_weights, cross_fit)
    dual = zeros(prototypes, (len(examples.y), support.n_classes))
    left = np.full((len(examples.y), support.n_classes), np.nan)
    fits: list[RidgeFit] = []
    for share in shares:  # of one strength, chosen on the first
        fit = _fit_share(kernels.pop(0), seen, examples.of_share(share), support.n_classes, strength)
        dual[beside(dual, share)], left[share] = fit.dual / len(shares), fit.left_out_scores
        strength = fit.strength
        fits.append(fit)
    directions = _directions(support, examples, dual, metric_of, head_weights)
    return JointFit(directions, fits[0].strength, fits[0].temperature, left[examples.n_earlier :])


def _kernels(
    support: SupportSet,
    examples: _Examples,
    shares: list[NDArray[np.int64]],
    prototypes: Array,
    metric_of: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
    cross_fit: bool,
) -> tuple[list[Array], Array | None]:
    """Compute the kernel of each share of the examples, and what left-out clips see if that is worked out."""
    kernels = [zeros(prototypes, (len(share), len(share))) for share in shares]
    few = len(examples.y) <= min(_CLIPS_OF_CHOICE, _CLIPS_PER_DIM * prototypes.shape[2])
    apart = few and cross_fit and metric_of(slice(0, 1)) is not None
    seen = zeros(prototypes, kernels[0].shape) if apart else None

    def add_heads(part: slice, X: Array) -> None:
        metric = metric_of(part)
        Z, weights = _project(examples.with_earlier(X, part), metric), beside(X, head_weights[part], X.dtype)
        for share, kernel in zip(shares, kernels, strict=True):
            _add_products(kernel, unit_vectors(Z[:, beside(X, share)]) * namespace(X).sqrt(weights)[:, None, None])
        if seen is not None and metric is not None:
            _add_left_out(seen, Z, _project(prototypes[:, part], metric), metric.leverage, weights, examples)

    support.each_slab(add_heads, numbers=_KERNEL_NUMBERS, threads=1)
    for kernel in kernels:
        _mirror(kernel)
    return kernels, seen


def _directions(
    support: SupportSet,
    examples: _Examples,
    dual: Array,
    metric_of: Callable[[slice], Metric | None],
    head_weights: NDArray[np.floating],
) -> Array:
    """Fold coefficients of examples ``(n, C)`` into directions of heads ``(C, K, D)``."""
    _, heads, dim = support.heads.shape
    directions = zeros(dual, (support.n_classes, heads, dim))

    def fold(part: slice, X: Array) -> None:
        xp = namespace(X)
        unit = xp.permute_dims(unit_vectors(_project(examples.with_earlier(X, part), metric_of(part))), (1, 0, 2))
        weighted = unit * beside(X, head_weights[part], X.dtype)[None, :, None]
        directions[:, part] = xp.reshape(dual.T @ xp.reshape(weighted, (unit.shape[0], -1)), (-1, *unit.shape[1:]))

    support.each_slab(fold)
    return directions


def _add_products(kernel: Array, vectors: Array) -> None:
    """Add the inner products of ``(K, n, D)``, summed over heads, to the lower triangle of a kernel, tile by tile."""
    xp, n = namespace(vectors), vectors.shape[1]
    flat = xp.reshape(xp.permute_dims(vectors, (1, 0, 2)), (n, -1))
    if not is_numpy(flat):
        kernel += flat @ flat.T
        return
    tiles = [(rows, columns) for rows in spans(n, _TILE) for columns in spans(n, _TILE) if columns.start <= rows.start]

    def add(tile: tuple[slice, slice]) -> None:
        rows, columns = tile
        product = flat[rows] @ flat[columns].T
        kernel[rows, columns] += product

    each(add, tiles)


def _mirror(kernel: Array) -> None:
    """Fill the upper triangle of tiles from the lower one."""
    if is_numpy(kernel):
        for rows in spans(len(kernel), _TILE):
            kernel[: rows.start, rows] = kernel[rows, : rows.start].T


def _add_left_out(seen: Array, Z: Array, P: Array, leverage: Array, weights: Array, examples: _Examples) -> None:
    """Add what left-out clips see in each head, ``Z`` being ``(K, n, D)``."""
    lock = Lock()

    def add(h: int) -> None:
        kernel = leave_one_out_kernel(Z[h], P[h], examples.y, leverage[h], examples.leaving)
        kernel *= weights[h]
        with lock:
            seen[...] += kernel

    each(add, range(Z.shape[0]), threads=None if is_numpy(Z) else 1)


def _fit_share(
    kernel: Array, seen: Array | None, examples: _Examples, n_classes: int, strength: float | None
) -> RidgeFit:
    """Fit one ridge regression, choosing its strength on no more clips than that is cheap for."""
    weights = examples.weights * examples.balance
    if len(weights) <= _CLIPS_OF_CHOICE:
        return fit_ridge(
            kernel,
            examples.y,
            n_classes,
            weights=weights,
            without=examples.balanced_leaving,
            left_out_kernel=seen,
            strength=strength,
        )
    if strength is None:
        some = examples.dealt_out(_CLIPS_OF_CHOICE)[0]
        rows, few = beside(kernel, some), examples.of_share(some)
        strength = _fit_share(kernel[rows][:, rows], None, few, n_classes, None).strength
    return solve_ridge(kernel, examples.y, n_classes, strength, weights=weights, without=examples.balanced_leaving)


@dataclass(frozen=True)
class _Examples:
    """The clips of a support set, after what stands for clips that came before."""

    y: NDArray[np.int64]
    weights: NDArray[np.float64]
    balance: NDArray[np.float64]  #: what makes classes count the same
    leaving: LeftOut
    earlier: Earlier | None

    @classmethod
    def of(cls, support: SupportSet, counts: NDArray[np.floating], earlier: Earlier | None) -> _Examples:
        weights = np.ones(len(support.y)) if support.weights is None else support.weights
        y, leaving = support.y, left_out(support.y, counts, support.weights)
        if earlier is not None:
            y, weights = np.concatenate([earlier.classes, y]), np.concatenate([earlier.counts, weights])
            some = len(earlier.classes)
            leaving = LeftOut(
                np.concatenate([earlier.counts, leaving.units]),
                np.concatenate([np.zeros(some), leaving.step]),
                np.concatenate([np.ones(some, bool), leaving.alone]),
            )
        present = np.unique(y)
        balance = counts.sum() / (len(present) * counts[y])
        return cls(y, weights, balance, leaving, earlier)

    @property
    def n_earlier(self) -> int:
        return 0 if self.earlier is None else len(self.earlier.classes)

    def with_earlier(self, X: Array, part: slice) -> Array:
        if self.earlier is None:
            return X
        return namespace(X).concat([self.earlier.prototypes[:, part], X])

    @property
    def balanced_leaving(self) -> LeftOut:
        """What leaving out a clip takes, in the units of balanced weights."""
        return replace(self.leaving, units=self.leaving.units * self.balance)

    def dealt_out(self, most: int) -> list[NDArray[np.int64]]:
        """Deal the clips of every class out to as few shares as are no larger than that."""
        shares = -(-len(self.y) // most)
        by_class = np.argsort(self.y, kind="stable")
        return [np.sort(by_class[i::shares]) for i in range(shares)]

    def of_share(self, share: NDArray[np.int64]) -> _Examples:
        leaving = LeftOut(self.leaving.units[share], self.leaving.step[share], self.leaving.alone[share])
        return _Examples(self.y[share], self.weights[share], self.balance[share], leaving, None)


def _project(X: Array, metric: Metric | None) -> Array:
    return namespace(X).permute_dims(X, (1, 0, 2)) if metric is None else metric.project(X)


def head_norms(directions: Array) -> NDArray[np.float64]:
    """Return the length of each head's direction for each class, ``(K, C)``, as shares that sum to one over heads."""
    lengths = to_numpy(namespace(directions).sqrt(namespace(directions).sum(directions**2, axis=-1))).T
    total = lengths.sum(axis=0, keepdims=True, dtype=np.float64)
    return np.where(total > 0, lengths / np.where(total > 0, total, 1.0), 1 / len(lengths))
