"""The clips that a classifier learns from: all at once, some heads at a time, or a part of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.inputs import BLOCK_SIZE, HeadSubset, HeadVectors, head_blocks
from calm.fit import class_counts
from calm.fit.arrays import Array, is_numpy
from calm.fit.parallel import parallel_map
from calm.machine import available_cores


@dataclass(frozen=True)
class SupportSet:
    """Labelled clips to learn from."""

    heads: HeadVectors
    y: NDArray[np.int64]  #: (n,) class numbers
    weights: NDArray[np.float64] | None  #: (n,) above zero; None if all are 1
    n_classes: int
    #: (n,) number of the group that a clip belongs to; None if no two clips belong together
    groups: NDArray[np.int64] | None = None

    @property
    def counts(self) -> NDArray[np.float64]:
        """Clips of each class, or the sum of their weights, ``(C,)``."""
        return class_counts(self.y, self.n_classes, self.weights)

    def for_each_block(
        self, work: Callable[[slice, Array], Any], *, numbers: int = BLOCK_SIZE, threads: int | None = None
    ) -> None:
        """Read some heads of all clips at a time, and do the work on each such ``(n, heads, dim)``.

        As many cores as there are work side by side, unless told otherwise or on an accelerator.
        """
        threads = (available_cores() if threads is None else threads) if is_numpy(self.heads.like) else 1
        parts = head_blocks(self.heads, numbers, threads)
        parallel_map(lambda part: work(part, self.heads.read(heads=part)), parts, threads=threads)

    def sum_over_blocks(self, nothing: Callable[[], Array], add: Callable[[Array, Array], None]) -> Array:
        """Add up over all heads: from ``nothing``, ``add`` adds to a sum what an ``(n, heads, dim)`` brings.

        Every core sums up a share of its own, and the shares are added in order, so that every run rounds alike.
        """
        threads = available_cores() if is_numpy(self.heads.like) else 1
        parts = head_blocks(self.heads, BLOCK_SIZE, threads)

        def add_share(share: list[slice]) -> Array:
            total = nothing()
            for part in share:
                add(total, self.heads.read(heads=part))
            return total

        shares = [parts[i::threads] for i in range(min(threads, len(parts)))]
        first, *others = parallel_map(add_share, shares, threads=threads)
        for other in others:
            first += other
        return first

    def select_clips(self, chosen: NDArray[np.int64]) -> SupportSet:
        """Return only some of the clips."""
        weights = None if self.weights is None else self.weights[chosen]
        groups = None if self.groups is None else self.groups[chosen]
        return SupportSet(self.heads[chosen], self.y[chosen], weights, self.n_classes, groups)

    def select_heads(self, chosen: NDArray[np.int64]) -> SupportSet:
        """Return the same clips with only some of the heads."""
        if len(chosen) == self.heads.shape[1]:
            return self
        return replace(self, heads=HeadSubset(self.heads, chosen))
