"""Learning the directions of all heads together, from a support set that is read a few heads at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from calm.base import SupportSet
from calm.fit import Metric, RidgeFit, fit_ridge, leave_one_out_kernel, left_out, unit_vectors
from calm.fit.arrays import Array, beside, namespace, to_numpy
from calm.fit.leave_one_out import LeftOut
from calm.fit.vote import zeros

#: Most clips that one kernel holds. More are dealt out evenly to several, whose models are averaged, so that memory
#: does not depend on their number (Zhang, Duchi and Wainwright, 2015).
MOST_CLIPS = 4096
#: Leaving a clip out of the whitening is worked out where it matters: up to so many clips a dimension.
_CLIPS_PER_DIM = 20


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
    metric: Metric | None,
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
    metric : Metric, optional
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
    honest = cross_fit and metric is not None and counts.sum() < _CLIPS_PER_DIM * prototypes.shape[2]
    shares = examples.dealt_out()
    kernels = [zeros(prototypes, (len(share), len(share))) for share in shares]
    seen = zeros(prototypes, kernels[0].shape) if honest else None
    lock = Lock()

    def add_heads(part: slice, X: Array) -> None:
        Z, P = _project(examples.with_earlier(X, part), metric, part), _project(prototypes[:, part], metric, part)
        weights = beside(X, head_weights[part], X.dtype)
        unit = unit_vectors(Z) * namespace(X).sqrt(weights)[:, None, None]
        flat = namespace(X).reshape(namespace(X).permute_dims(unit, (1, 0, 2)), (Z.shape[1], -1))
        for share, kernel in zip(shares, kernels, strict=True):
            own = flat[beside(X, share)] if len(shares) > 1 else flat
            product = own @ own.T
            with lock:
                kernel += product
        if seen is None or metric is None:
            return
        first = beside(X, shares[0])
        without = examples.without(shares[0])
        local = zeros(X, seen.shape)
        for h in range(Z.shape[0]):
            leverage = metric.leverage[part][h]
            kernel = leave_one_out_kernel(Z[h][first], P[h], examples.y[shares[0]], leverage, without)
            kernel *= weights[h]
            local += kernel
        with lock:
            seen[...] += local

    support.each_slab(add_heads)
    fits: list[RidgeFit] = []
    for share, kernel in zip(shares, kernels, strict=True):
        balance = examples.balance[share]
        without = examples.without(share)
        fits.append(
            fit_ridge(
                kernel,
                examples.y[share],
                support.n_classes,
                weights=examples.weights[share] * balance,
                without=replace(without, units=without.units * balance),
                left_out_kernel=seen if not fits else None,
                strength=strength if not fits else fits[0].strength,
            )
        )
    dual = namespace(prototypes).zeros_like(zeros(prototypes, (len(examples.y), support.n_classes)))
    left = np.full((len(examples.y), support.n_classes), np.nan)
    for share, fit in zip(shares, fits, strict=True):
        dual[beside(dual, share)] = fit.dual / len(shares)
        left[share] = fit.left_out_scores
    directions = zeros(prototypes, (support.n_classes, *prototypes.shape[1:]))

    def fold(part: slice, X: Array) -> None:
        xp = namespace(X)
        unit = xp.permute_dims(unit_vectors(_project(examples.with_earlier(X, part), metric, part)), (1, 0, 2))
        weighted = unit * beside(X, head_weights[part], X.dtype)[None, :, None]
        directions[:, part] = xp.reshape(dual.T @ xp.reshape(weighted, (unit.shape[0], -1)), (-1, *unit.shape[1:]))

    support.each_slab(fold)
    return JointFit(directions, fits[0].strength, fits[0].temperature, left[examples.n_earlier :])


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

    def dealt_out(self) -> list[NDArray[np.int64]]:
        """Deal the clips of every class out to as few shares as are small enough."""
        n = len(self.y)
        shares = -(-n // MOST_CLIPS)
        by_class = np.argsort(self.y, kind="stable")
        return [np.sort(by_class[i::shares]) for i in range(shares)]

    def without(self, share: NDArray[np.int64]) -> LeftOut:
        leaving = self.leaving
        return LeftOut(leaving.units[share], leaving.step[share], leaving.alone[share])


def _project(X: Array, metric: Metric | None, part: slice) -> Array:
    return namespace(X).permute_dims(X, (1, 0, 2)) if metric is None else metric.of(part).project(X)


def head_norms(directions: Array) -> NDArray[np.float64]:
    """Return the length of each head's direction for each class, ``(K, C)``, as shares that sum to one over heads."""
    lengths = to_numpy(namespace(directions).sqrt(namespace(directions).sum(directions**2, axis=-1))).T
    total = lengths.sum(axis=0, keepdims=True, dtype=np.float64)
    return np.where(total > 0, lengths / np.where(total > 0, total, 1.0), 1 / len(lengths))
