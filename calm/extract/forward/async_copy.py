"""Asynchronous copies of tensors from a GPU to the CPU."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray


class AsyncCopy:
    """Copy of a tensor to the CPU that starts now and is waited for later.

    A GPU runs its operations in order. A copy that is started only when its values are needed would be queued behind
    the next batch and wait for all of it.

    Parameters
    ----------
    tensor : tensor
        Tensor on any device. The copy is synchronous for devices other than CUDA GPUs.

    Examples
    --------
    >>> AsyncCopy(torch.ones(2)).numpy()
    array([1., 1.], dtype=float32)
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor, self._copied = tensor, None
        if tensor.device.type == "cuda":
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(tensor.device))

    def numpy(self) -> NDArray[Any]:
        """Wait for the copy to finish and return it."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._tensor.cpu().numpy()
