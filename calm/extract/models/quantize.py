"""Quantization of the weights of linear layers by bitsandbytes."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Bits per quantized weight, including the scales that a block of weights shares.
BITS = {"int8": 8.0, "nf4": 4.5}


def check_quantize(quantize: str | None) -> None:
    """Check that a quantization exists and that its packages are installed.

    Raises
    ------
    ValueError
        If the quantization is unknown.
    ImportError
        If bitsandbytes or accelerate is not installed.
    """
    if quantize is None:
        return
    if quantize not in BITS:
        raise ValueError(f"quantize must be int8 or nf4, got {quantize!r}")
    missing = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"quantize needs {' and '.join(missing)}: pip install 'calm-audio[quantize]'")


def quantization_config(quantize: str, dtype: torch.dtype) -> Any:
    """Return the quantization config of transformers.

    Parameters
    ----------
    quantize : {"int8", "nf4"}
        ``"int8"`` for 8 bits (LLM.int8, [1]_), or ``"nf4"`` for 4 bits (NormalFloat, [2]_).
    dtype : torch.dtype
        Dtype of the computation.

    References
    ----------
    .. [1] Dettmers et al. (2022), LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale, arXiv 2208.07339.
    .. [2] Dettmers et al. (2023), QLoRA: Efficient Finetuning of Quantized LLMs, arXiv 2305.14314.
    """
    from transformers import BitsAndBytesConfig

    # bitsandbytes warns in every matrix product that it casts its input to float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def is_quantized(config: Any) -> bool:
    """Return whether a checkpoint is already quantized."""
    return getattr(config, "quantization_config", None) is not None
