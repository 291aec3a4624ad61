"""LoadOptions a model with its weights in fewer bits, by bitsandbytes."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Bits that a weight takes, with the scales that belong to a block of them.
BITS = {"int8": 8.0, "nf4": 4.5}


def check_quantize(quantize: str | None) -> None:
    """Refuse what is no way of quantizing, or cannot be done for want of a package.

    Raises
    ------
    ValueError, ImportError
    """
    if quantize is None:
        return
    if quantize not in BITS:
        raise ValueError(f"quantize must be int8 or nf4, got {quantize!r}")
    missing = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"quantize needs {' and '.join(missing)}: pip install 'calm-audio[quantize]'")


def quantization_config(quantize: str, dtype: torch.dtype) -> Any:
    """Describe a way of quantizing to transformers.

    Parameters
    ----------
    quantize : {"int8", "nf4"}
        8 bits (LLM.int8, arXiv 2208.07339) or 4 (NormalFloat, arXiv 2305.14314).
    dtype : torch.dtype
        Of the computation.
    """
    from transformers import BitsAndBytesConfig

    # It warns of every product that its input, which is not float16, is brought to float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def is_quantized(config: Any) -> bool:
    """Tell whether a checkpoint comes in fewer bits already."""
    return getattr(config, "quantization_config", None) is not None
