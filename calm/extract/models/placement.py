"""How a model is loaded, and where it runs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from calm.options import check_values, option

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoadOptions:
    """Which weights are loaded, and in what precision: what changes head vectors."""

    revision: str | None = option(None, help="Branch, tag or commit of a hub model.")
    dtype: str | None = option(
        None,
        help="Precision of the computation; unless given, float32 on a CPU, and bfloat16 on a GPU that has it.",
        choices=("float32", "bfloat16", "float16"),
    )
    quantize: str | None = option(
        None,
        help="Load the weights of linear layers in 8 or 4 bits, which takes less memory (extra quantize).",
        choices=("int8", "nf4"),
    )

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class Placement:
    """Where a model runs, and how: what changes head vectors by rounding only, and is kept in no file.

    Examples
    --------
    >>> Placement(device="cpu").target
    device(type='cpu')
    """

    panel: ClassVar[str] = "Model"

    device: str | None = option(None, help="cpu, cuda, cuda:1, mps …; default: the first accelerator.")
    device_map: str | None = option(
        None, help="auto: spread the model over several devices (extra device-map). Goes without a device."
    )
    attention: str | None = option(
        None, help="How attention is computed, as transformers names it: sdpa, eager, flash_attention_2 …"
    )
    trust_remote_code: bool = option(False, help="Run code that comes with the model.")

    def __post_init__(self) -> None:
        check_values(self)

    def check(self) -> None:
        """Refuse what does not go together, or lacks a package.

        Raises
        ------
        ValueError, ImportError
        """
        if self.device_map is not None and self.device is not None:
            raise ValueError("give device or device_map, not both")
        if self.device_map is not None and importlib.util.find_spec("accelerate") is None:
            raise ImportError("device_map needs accelerate: pip install 'calm-audio[device-map]'")

    @property
    def target(self) -> torch.device:
        """The device that all of a model goes to, or the first of several.

        Raises
        ------
        ValueError
            If there is no such device, or it cannot be used.
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
        """The devices that share a model's weights."""
        import torch

        target = self.target
        if self.device_map is None or target.type == "cpu":
            return [target]
        return [torch.device(target.type, i) for i in range(torch.accelerator.device_count())]


def default_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype of the computation unless one is given; None for the checkpoint's own."""
    import torch

    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else None
