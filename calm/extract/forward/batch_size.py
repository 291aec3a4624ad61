"""The number of clips in a batch: options for the user, and its adaptation to the free memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calm.options import check_values, document_options, option

if TYPE_CHECKING:
    import torch


@document_options()
@dataclass(frozen=True)
class Batching:
    """Batch size, and number of threads that prepare batches.

    Parameters
    ----------
    {options}

    See Also
    --------
    calm.extract.head_vectors : Take these options as keywords.
    calm.extract.extract_to_cache : Take these options as keywords.

    Examples
    --------
    >>> Batching(batch_size=16).workers is None
    True
    """

    batch_size: int | None = option(
        None,
        help="Clips per forward pass. If memory runs out, the batch size is halved. "
        "By default 8 on a CPU, and up to 64 on a GPU, depending on its memory.",
        minimum=1,
    )
    workers: int | None = option(
        None,
        help="Threads that decode audio, resample it and compute features ahead of the model. "
        "By default a third of the cores for a model on a CPU, and one per core, up to 8, for a model on a GPU.",
        minimum=1,
    )

    def __post_init__(self) -> None:
        check_values(self)


#: The largest automatic batch size.
_MAX_CLIPS = 64

#: A batch size is doubled only if the activations so far take less than this share of the free memory.
_MAX_SHARE_OF_FREE = 0.9


class BatchSize:
    """Current batch size, which adapts to the memory of the device.

    Parameters
    ----------
    clips : int, default=None
        Fixed number of clips per batch. None starts with 8 and doubles it, up to 64, while a GPU has enough memory.
        Running out of memory lowers both.

    Attributes
    ----------
    clips : int
        Number of clips for the next batch.
    """

    def __init__(self, clips: int | None = None) -> None:
        if clips is not None and clips < 1:
            raise ValueError(f"batch_size must be at least 1, got {clips!r}")
        self.clips, self._grows = clips or 8, clips is None

    def record_success(self, clips: int, device: torch.device) -> None:
        """Double the batch size if a full batch succeeded and the GPU has memory for twice as many clips."""
        if not self._grows or clips < self.clips or device.type != "cuda":
            return
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        for_activations = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if self.clips < _MAX_CLIPS and for_activations < _MAX_SHARE_OF_FREE * free:
            self.clips *= 2

    def record_out_of_memory(self, clips: int) -> None:
        """Halve the batch size after a batch of ``clips`` ran out of memory, and stop growing."""
        self.clips, self._grows = min(self.clips, max(1, clips // 2)), False
