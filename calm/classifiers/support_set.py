"""Support sets: labelled clips whose head vectors are read a few heads at a time."""

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
    """Labelled clips to fit on."""

    heads: HeadVectors
    y: NDArray[np.int64]  #: (n,) class numbers
    weights: NDArray[np.float64] | None  #: (n,) above zero; None if all are 1
    n_classes: int
    #: (n,) group number of each clip; None if no two clips share a group
    groups: NDArray[np.int64] | None = None

    @property
    def counts(self) -> NDArray[np.float64]:
        """Number of clips of each class, or the sum of their weights, ``(C,)``."""
        return class_counts(self.y, self.n_classes, self.weights)

    def for_each_block(
        self, work: Callable[[slice, Array], Any], *, numbers: int = BLOCK_SIZE, threads: int | None = None
    ) -> None:
        """Call ``work(heads, X)`` for blocks of heads; ``X`` holds these heads of all clips, ``(n, heads, D)``.

        A block has about ``numbers`` values. By default, one block per core is processed in parallel; tensors are
        processed one block after the other.
        """
        threads = (available_cores() if threads is None else threads) if is_numpy(self.heads.like) else 1
        blocks = head_blocks(self.heads, numbers, threads)
        parallel_map(lambda block: work(block, self.heads.read(heads=block)), blocks, threads=threads)

    def sum_over_blocks(self, make_zeros: Callable[[], Array], add: Callable[[Array, Array], None]) -> Array:
        """Sum over all heads: ``add(total, X)`` adds the contribution of a block of heads ``(n, heads, D)`` in place.

        Each core has its own total, which starts as ``make_zeros()``. The totals are added in a fixed order, so that
        rounding is the same in every run.
        """
        threads = available_cores() if is_numpy(self.heads.like) else 1
        blocks = head_blocks(self.heads, BLOCK_SIZE, threads)

        def add_blocks(blocks_of_core: list[slice]) -> Array:
            total = make_zeros()
            for block in blocks_of_core:
                add(total, self.heads.read(heads=block))
            return total

        blocks_by_core = [blocks[i::threads] for i in range(min(threads, len(blocks)))]
        first, *others = parallel_map(add_blocks, blocks_by_core, threads=threads)
        for other in others:
            first += other
        return first

    def select_clips(self, indices: NDArray[np.int64]) -> SupportSet:
        """Return a support set with only some of the clips."""
        weights = None if self.weights is None else self.weights[indices]
        groups = None if self.groups is None else self.groups[indices]
        return SupportSet(self.heads[indices], self.y[indices], weights, self.n_classes, groups)

    def select_heads(self, indices: NDArray[np.int64]) -> SupportSet:
        """Return a support set with only some of the heads."""
        if len(indices) == self.heads.shape[1]:
            return self
        return replace(self, heads=HeadSubset(self.heads, indices))
