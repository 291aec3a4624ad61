"""Whether a model's weights fit into memory, told before they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from calm.extract.quantize import BITS

if TYPE_CHECKING:
    import torch


def weight_bytes(
    auto_class: Any,
    config: Any,
    dtype: torch.dtype,
    *,
    quantize: str | None = None,
    trust_remote_code: bool = False,
) -> int:
    """Count the bytes of a model's weights, without making them.

    Parameters
    ----------
    auto_class
        An automatic class of transformers, which knows the model.
    config
        The model's.
    dtype : torch.dtype
    quantize : {"int8", "nf4"}, optional
        The weights of linear layers, but for the language-model head, take fewer bits then.
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
    every = sum(parameter.numel() for parameter in model.parameters())
    if quantize is None:
        return every * dtype.itemsize
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    fewer = sum(module.weight.numel() for module in linear)
    return round((every - fewer) * dtype.itemsize + fewer * BITS[quantize] / 8)


def free_bytes(device: torch.device) -> float:
    """Tell how much memory a device has left; infinite where that cannot be told."""
    import psutil
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        return float(psutil.virtual_memory().available)
    return math.inf


def check_fits(needed: int, dtype: torch.dtype, devices: Sequence[torch.device], quantize: str | None = None) -> None:
    """Refuse weights that take more memory than is free.

    Parameters
    ----------
    needed : int
        Bytes, from :func:`weight_bytes`.
    dtype : torch.dtype
        Of the weights, or of the computation with them.
    devices : sequence of torch.device
        Over which they are spread.
    quantize : {"int8", "nf4"}, optional

    Raises
    ------
    MemoryError
        With what they take, what there is, and what takes less.
    """
    free = sum(free_bytes(device) for device in devices)
    if needed <= free:
        return
    advice = []
    if dtype.itemsize > 2 and quantize is None:
        advice.append(f"in bfloat16 they take {needed * 2 / dtype.itemsize / 1e9:.1f} GB")
    on_gpu = devices[0].type == "cuda"
    if on_gpu and quantize != "nf4":
        advice.append(f"quantize takes less ({', '.join(BITS) if quantize is None else 'nf4'})")
    if on_gpu and len(devices) == 1:
        advice.append("a device map spreads them over several GPUs")
    here = quantize or str(dtype).removeprefix("torch.")
    where = str(devices[0]) if len(devices) == 1 else f"{len(devices)} devices together"
    raise MemoryError(
        f"its weights take {needed / 1e9:.1f} GB in {here}, and {where} {'has' if len(devices) == 1 else 'have'} "
        f"{free / 1e9:.1f} GB free" + "".join(f"; {words}" for words in advice)
    )
