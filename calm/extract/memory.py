"""Whether a model's weights fit into memory, told before they are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def weight_bytes(auto_class: Any, config: Any, dtype: torch.dtype, trust_remote_code: bool = False) -> int:
    """Count the bytes of a model's weights, without making them.

    Parameters
    ----------
    auto_class
        An automatic class of transformers, which knows the model.
    config
        The model's.
    dtype : torch.dtype
    trust_remote_code : bool
        Run code that comes with the checkpoint.

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
        model = auto_class.from_config(config, trust_remote_code=trust_remote_code)
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


def check_fits(needed: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse weights that take more memory than is free.

    Parameters
    ----------
    needed : int
        Bytes, from :func:`weight_bytes`.
    dtype : torch.dtype
        Of the weights.
    device : torch.device

    Raises
    ------
    MemoryError
        With what they take, what there is, and what takes less.
    """
    free = free_bytes(device)
    if needed <= free:
        return
    advice = []
    if dtype.itemsize > 2:
        advice.append(f"in bfloat16 they take {needed * 2 / dtype.itemsize / 1e9:.1f} GB")
    if device.type == "cuda":
        advice.append("a device map spreads them over several GPUs")
    here = str(dtype).removeprefix("torch.")
    raise MemoryError(
        f"its weights take {needed / 1e9:.1f} GB in {here}, and {device} has {free / 1e9:.1f} GB free"
        + "".join(f"; {words}" for words in advice)
    )
