"""Make a torchvision wheel for GPUs importable with a torch for CPUs: the tests need only its transforms.

The extension of such a wheel does not load, and the import fails because two operators have no schema. This module
defines them. It does nothing if torchvision works or is not installed.
"""

from __future__ import annotations

import importlib.util
import sys

import torch

_library: torch.library.Library | None = None  # keeps the operators defined

if importlib.util.find_spec("torchvision") is not None:
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
        _library = torch.library.Library("torchvision", "DEF")
        _library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
