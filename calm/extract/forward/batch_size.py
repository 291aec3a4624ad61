"""How many clips go through the model at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calm.options import check_values, option

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Batching:
    """How many clips go through at once, and how many threads prepare them."""

    batch_size: int | None = option(
        None,
        help="Clips a forward pass, fewer from where memory is short. Unless given, as many as a GPU holds, up to 64, "
        "and 8 on a CPU.",
        minimum=1,
    )
    workers: int | None = option(
        None,
        help="Threads that decode, resample and compute features ahead of the model. Unless given, a third of the "
        "cores beside a CPU's model, and one a core, up to 8, beside a GPU.",
        minimum=1,
    )

    def __post_init__(self) -> None:
        check_values(self)


#: A batch is doubled up to here, and only where what it took so far is less than this share of what is left.
_MOST_CLIPS, _SHARE_OF_FREE = 64, 0.9


class BatchSize:
    """How many clips go through the model at once: as many as asked for, or as memory has been seen to hold.

    Parameters
    ----------
    clips : int, optional
        None begins with 8, and goes on with twice as many for as long as a GPU has room for that, up to 64.
    """

    def __init__(self, clips: int | None = None) -> None:
        if clips is not None and clips < 1:
            raise ValueError(f"batch_size must be at least 1, got {clips!r}")
        self.clips, self._grows = clips or 8, clips is None

    def passed(self, clips: int, device: torch.device) -> None:
        """Learn that so many went through."""
        if not self._grows or clips < self.clips or device.type != "cuda":
            return
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        for_activations = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if self.clips < _MOST_CLIPS and for_activations < _SHARE_OF_FREE * free:
            self.clips *= 2

    def failed(self, clips: int) -> None:
        """Learn that memory did not suffice for so many."""
        self.clips, self._grows = min(self.clips, max(1, clips // 2)), False
