"""Whether a model's weights fit into memory, told before they are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: What may be suggested where weights do not fit, the most exact first.
_SMALLER = ("bfloat16",)


def weight_bytes(auto_class: Any, config: Any, dtype: torch.dtype) -> int:
    """Count the bytes of a model's weights, without making them.

    Parameters
    ----------
    auto_class
        An automatic class of transformers, which knows the model.
    config
        The model's.
    dtype : torch.dtype

    Examples
    --------
    >>> import torch
    >>> from transformers import AutoConfig, AutoModelForMultimodalLM
    >>> from calm.extract.tiny import CHECKPOINT
    >>> config = AutoConfig.from_pretrained(CHECKPOINT)
    >>> round(weight_bytes(AutoModelForMultimodalLM, config, torch.float16) / 1e6, 1)
    8.5
    """
    import torch

    with torch.device("meta"):
        model = auto_class.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters()) * dtype.itemsize


def free_bytes(device: torch.device) -> float:
    """Tell how much memory a device has left; infinite where that cannot be told."""
    import psutil
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        return float(psutil.virtual_memory().available)
    return math.inf


def check_fits(name: str, auto_class: Any, config: Any, dtype: torch.dtype | None, device: torch.device) -> None:
    """Refuse a model whose weights are larger than the memory that is free.

    Raises
    ------
    MemoryError
        With what it takes, what there is, and what takes less.
    """
    import torch

    dtype = dtype or getattr(config, "dtype", None) or torch.float32
    needed, free = weight_bytes(auto_class, config, dtype), free_bytes(device)
    if needed <= free:
        return
    here = str(dtype).removeprefix("torch.")
    smaller = [d for d in _SMALLER if getattr(torch, d).itemsize < dtype.itemsize]
    advice = [f"--dtype {d} takes {needed * getattr(torch, d).itemsize / dtype.itemsize / 1e9:.1f} GB" for d in smaller]
    advice.append("--device-map auto spreads a model over several GPUs")
    raise MemoryError(
        f"the weights of model {name!r} take {needed / 1e9:.1f} GB in {here}, and {device} has {free / 1e9:.1f} GB "
        f"free: {'; '.join(advice)}"
    )
