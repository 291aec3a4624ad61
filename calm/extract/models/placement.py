"""Options that determine how a model is loaded and on which device it runs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from calm.options import check_values, document_options, option

if TYPE_CHECKING:
    import torch


@document_options()
@dataclass(frozen=True)
class LoadOptions:
    """Revision and precision of a model's weights, which change its head vectors.

    Parameters
    ----------
    {options}

    See Also
    --------
    calm.extract.load_lalm : Load a model with these options as keywords.
    calm.extract.Placement : Options that change head vectors by rounding only.

    Examples
    --------
    >>> LoadOptions(dtype="bfloat16")
    LoadOptions(revision=None, dtype='bfloat16', quantize=None)
    """

    revision: str | None = option(
        None, help="Branch, tag or commit of a model on the Hugging Face Hub. By default its main branch."
    )
    dtype: str | None = option(
        None,
        help="Floating-point precision of the computation. "
        "By default float32 on a CPU, and bfloat16 on a GPU that supports it.",
        choices=("float32", "bfloat16", "float16"),
    )
    quantize: str | None = option(
        None,
        help="Quantize the weights of linear layers to 8 or 4 bits, which saves memory (extra quantize).",
        choices=("int8", "nf4"),
    )

    def __post_init__(self) -> None:
        check_values(self)


@document_options()
@dataclass(frozen=True)
class Placement:
    """Device and implementation of a model, which change head vectors by rounding only.

    These options are not stored in any file.

    Parameters
    ----------
    {options}

    See Also
    --------
    calm.extract.load_lalm : Load a model with these options as keywords.
    calm.extract.LoadOptions : Options that change head vectors.

    Examples
    --------
    >>> Placement(device="cpu").target
    device(type='cpu')
    """

    panel: ClassVar[str] = "Model"

    device: str | None = option(
        None, help="Device of the model: cpu, cuda, cuda:1, mps … By default the first accelerator, or else the CPU."
    )
    device_map: str | None = option(
        None,
        help="auto distributes the model over several devices (extra device-map). Do not set a device as well.",
    )
    attention: str | None = option(
        None, help="Attention implementation: sdpa, eager, flash_attention_2 … By default that of transformers."
    )
    trust_remote_code: bool = option(False, help="Run Python code from the model's repository or folder.")

    def __post_init__(self) -> None:
        check_values(self)

    def check(self) -> None:
        """Check that the options can be combined and that their packages are installed.

        Raises
        ------
        ValueError
            If both ``device`` and ``device_map`` are given.
        ImportError
            If ``device_map`` is given and accelerate is not installed.
        """
        if self.device_map is not None and self.device is not None:
            raise ValueError("give device or device_map, not both")
        if self.device_map is not None and importlib.util.find_spec("accelerate") is None:
            raise ImportError("device_map needs accelerate: pip install 'calm-audio[device-map]'")

    @property
    def target(self) -> torch.device:
        """Device of the model, or the first of several devices.

        Raises
        ------
        ValueError
            If the device does not exist or cannot be used.
        """
        import torch

        if self.device is None:
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            return accelerator if accelerator is not None else torch.device("cpu")
        try:
            target = torch.device(self.device)
            torch.empty(0, device=target)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device {self.device!r} cannot be used: {str(error).splitlines()[0]}") from error
        return target

    @property
    def devices(self) -> list[torch.device]:
        """All devices that hold weights of the model."""
        import torch

        target = self.target
        if self.device_map is None or target.type == "cpu":
            return [target]
        return [torch.device(target.type, i) for i in range(torch.accelerator.device_count())]


def default_dtype(device: torch.device) -> torch.dtype | None:
    """Return the default dtype of the computation on a device; None means that of the checkpoint."""
    import torch

    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else None
