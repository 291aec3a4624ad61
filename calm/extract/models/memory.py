"""Check that a model's weights fit into memory, before they are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calm.extract.models.quantize import BITS
from calm.machine import available_memory

if TYPE_CHECKING:
    import torch

#: An alternative that needs more than this share of the memory is not suggested.
_MAX_USEFUL_SHARE = 0.9


@dataclass(frozen=True)
class Weights:
    """Number of weights of a model."""

    linear: int  #: weights of linear layers without the language-model head, which can be quantized
    others: int  #: all other weights

    def bytes(self, dtype: torch.dtype, quantize: str | None = None) -> float:
        """Return the memory in bytes of the weights in a dtype, and of linear layers in a quantization.

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
    """Count the weights of a model without allocating them.

    Parameters
    ----------
    auto_class : type
        Auto class of transformers that loads the model.
    config : transformers.PreTrainedConfig
        Configuration of the model.
    trust_remote_code : bool, default=False
        Run Python code from the model's repository or folder.

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
    lm_head = model.get_output_embeddings()
    total = sum(parameter.numel() for parameter in model.parameters())
    # bitsandbytes replaces exactly this class, and not the experts of a mixture that share one tensor.
    linear = sum(m.weight.numel() for m in model.modules() if type(m) is torch.nn.Linear and m is not lm_head)
    return Weights(linear, total - linear)


def free_bytes(device: torch.device) -> float:
    """Return the free memory of a device in bytes; infinity if it is unknown."""
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        return available_memory()
    return math.inf


def check_fits(
    weights: Weights, dtype: torch.dtype, devices: Sequence[torch.device], quantize: str | None = None
) -> None:
    """Raise an exception if the weights need more memory than is free.

    Parameters
    ----------
    weights : Weights
        Number of weights of the model.
    dtype : torch.dtype
        Dtype of the weights, or of the computation with quantized weights.
    devices : sequence of torch.device
        Devices that share the weights.
    quantize : {"int8", "nf4"}, default=None
        Quantization of the weights of linear layers. None means no quantization.

    Raises
    ------
    MemoryError
        If the memory does not suffice. The message names the needed and the free memory, and options that need less.
    ValueError
        If the quantization saves hardly any memory.
    """
    import torch

    unquantized, needed = weights.bytes(dtype), weights.bytes(dtype, quantize)
    if needed > _MAX_USEFUL_SHARE * unquantized and quantize is not None:
        share = 100 * weights.others / (weights.linear + weights.others)
        raise ValueError(
            f"{quantize} cannot quantize {share:.0f} % of its weights, which are outside linear layers: "
            f"leave quantize out"
        )
    free = sum(free_bytes(device) for device in devices)
    if needed <= free:
        return
    on_gpu = devices[0].type == "cuda"
    alternatives = {"bfloat16": weights.bytes(torch.bfloat16)} if quantize is None else {}
    alternatives |= {name: weights.bytes(dtype, name) for name in BITS} if on_gpu else {}
    advice = [
        f"in {name} they need {size / 1e9:.1f} GB"
        for name, size in alternatives.items()
        if size < _MAX_USEFUL_SHARE * needed
    ]
    if on_gpu and len(devices) == 1:
        advice.append("device_map='auto' spreads them over several GPUs")
    precision = quantize or str(dtype).removeprefix("torch.")
    available = f"{devices[0]} has" if len(devices) == 1 else f"{len(devices)} devices together have"
    raise MemoryError(
        f"its weights need {needed / 1e9:.1f} GB in {precision}, but {available} {free / 1e9:.1f} GB free"
        + "".join(f"; {sentence}" for sentence in advice)
    )
