"""A tensor on its way back from a device."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray


class AsyncCopy:
    """Begins to copy a tensor to the CPU, and waits for that alone when it is asked for.

    A GPU does what it is told in order. A copy that is asked for only when the vectors are wanted stands behind the
    next batch by then, and would wait for all of it.

    Parameters
    ----------
    tensor : tensor

    Examples
    --------
    >>> AsyncCopy(torch.ones(2)).numpy()
    array([1., 1.], dtype=float32)
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._there, self._done = tensor, None
        if tensor.device.type == "cuda":
            self._there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._there.copy_(tensor, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    def numpy(self) -> NDArray[Any]:
        """Wait until it is there, and return it."""
        if self._done is not None:
            self._done.synchronize()
        return self._there.cpu().numpy()
