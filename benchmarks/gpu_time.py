"""Measure the time of forward passes on a GPU by CUDA events, without synchronizing between passes."""

from __future__ import annotations

from typing import Any

import torch

from calm.extract import LALM


class GpuTime:
    """Timer of forward passes, from the token embedding to the output projection (o_proj) of the last layer."""

    def __init__(self, lalm: LALM) -> None:
        self._passes: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._begun: torch.cuda.Event | None = None
        lalm.model.get_input_embeddings().register_forward_pre_hook(self._begin)
        lalm.heads.projections[-1].register_forward_pre_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self._begun = torch.cuda.Event(enable_timing=True)
        self._begun.record()

    def _end(self, *_: Any) -> None:
        done = torch.cuda.Event(enable_timing=True)
        done.record()
        assert self._begun is not None
        self._passes.append((self._begun, done))

    def seconds(self) -> float:
        """Return the total time of all passes so far, in seconds."""
        torch.cuda.synchronize()
        return sum(begun.elapsed_time(done) for begun, done in self._passes) / 1000
