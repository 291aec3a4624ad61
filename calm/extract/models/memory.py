"""Whether a model's weights fit into memory, told before they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calm.extract.models.quantize import BITS
from calm.machine import available_memory

if TYPE_CHECKING:
    import torch

#: What takes more than this share of the memory is no remedy.
_HARDLY_LESS = 0.9


@dataclass(frozen=True)
class Weights:
    """How many weights a model has."""

    linear: int  #: of linear layers but the language-model head, which quantizing makes smaller
    others: int

    def bytes(self, dtype: torch.dtype, quantize: str | None = None) -> float:
        """Tell what they take in a dtype, or with those of linear layers in fewer bits.

        Examples
        --------
        >>> import torch
        >>> Weights(1000, 50).bytes(torch.bfloat16), Weights(1000, 50).bytes(torch.bfloat16, "int8")
        (2100, 1100.0)
        """
        if quantize is None:
            return (self.linear + self.others) * dtype.itemsize
        return self.others * dtype.itemsize + self.linear * BITS[quantize] / 8


def count_weights(auto_class: Any, config: Any, trust_remote_code: bool = False) -> Weights:
    """Count the weights of a model, without making them.

    Parameters
    ----------
    auto_class
        An automatic class of transformers, which knows the model.
    config
        The model's.
    trust_remote_code : bool
        Run code that comes with the checkpoint.

    Examples
    --------
    >>> import torch
    >>> from transformers import AutoConfig, AutoModelForMultimodalLM
    >>> from calm.extract.models.tiny import CHECKPOINT
    >>> config = AutoConfig.from_pretrained(CHECKPOINT)
    >>> round(count_weights(AutoModelForMultimodalLM, config).bytes(torch.float16) / 1e6, 1)
    8.5
    """
    import torch

    with torch.device("meta"):
        model = auto_class.from_config(config, trust_remote_code=trust_remote_code)
    head = model.get_output_embeddings()
    every = sum(parameter.numel() for parameter in model.parameters())
    # bitsandbytes replaces this very class: experts that are one tensor stay as they are.
    linear = sum(m.weight.numel() for m in model.modules() if type(m) is torch.nn.Linear and m is not head)
    return Weights(linear, every - linear)


def free_bytes(device: torch.device) -> float:
    """Tell how much memory a device has left; infinite where that cannot be told."""
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        return available_memory()
    return math.inf


def check_fits(
    weights: Weights, dtype: torch.dtype, devices: Sequence[torch.device], quantize: str | None = None
) -> None:
    """Refuse weights that take more memory than is free.

    Parameters
    ----------
    weights : Weights
    dtype : torch.dtype
        Of the weights, or of the computation with them.
    devices : sequence of torch.device
        Over which they are spread.
    quantize : {"int8", "nf4"}, optional

    Raises
    ------
    MemoryError
        With what they take, what there is, and what takes less.
    ValueError
        If quantizing leaves nearly all of them as they are.
    """
    import torch

    whole, needed = weights.bytes(dtype), weights.bytes(dtype, quantize)
    if needed > _HARDLY_LESS * whole and quantize is not None:
        share = 100 * weights.others / (weights.linear + weights.others)
        raise ValueError(
            f"{quantize} would leave {share:.0f} % of its weights as they are: they are in no linear layer"
        )
    free = sum(free_bytes(device) for device in devices)
    if needed <= free:
        return
    on_gpu = devices[0].type == "cuda"
    less = {"bfloat16": weights.bytes(torch.bfloat16)} if quantize is None else {}
    less |= {bits: weights.bytes(dtype, bits) for bits in BITS} if on_gpu else {}
    advice = [f"in {how} they take {size / 1e9:.1f} GB" for how, size in less.items() if size < _HARDLY_LESS * needed]
    if on_gpu and len(devices) == 1:
        advice.append("a device map spreads them over several GPUs")
    here = quantize or str(dtype).removeprefix("torch.")
    where = f"{devices[0]} has" if len(devices) == 1 else f"{len(devices)} devices together have"
    raise MemoryError(
        f"its weights take {needed / 1e9:.1f} GB in {here}, and {where} {free / 1e9:.1f} GB free"
        + "".join(f"; {words}" for words in advice)
    )
