"""Let a torchvision that was built for GPUs be imported beside a torch for CPUs: only its transforms are needed here.

Its extension does not load then, and importing it fails for want of two operators' schemas. Does nothing where
torchvision is whole, or missing.
"""

from __future__ import annotations

import importlib.util
import sys

import torch

_library: torch.library.Library | None = None  # the operators go with it

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
