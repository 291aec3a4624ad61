"""How long a GPU works on forward passes, told by its own events, without making it wait."""

from __future__ import annotations

from typing import Any

import torch

from calm.extract import LALM


class GpuTime:
    """Times passes of a model from its first embedding to its last attention."""

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
        """Return how long all passes so far took together."""
        torch.cuda.synchronize()
        return sum(begun.elapsed_time(done) for begun, done in self._passes) / 1000
