"""Leaving out the silence that fills up a clip to an encoder's window, where no frame of the clip can hear it.

Encoders made after Whisper's take windows of one length, 30 s, and mask what is beyond the end of a clip in their
attention. A clip of 5 s then costs six times what is needed. Frames that are masked are cut off instead, up to two that
convolutions at the end of the clip still reach, and the table of positions with them: what is left is computed from the
same numbers as before.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_MASKS = ("feature_attention_mask", "input_features_mask")
_REACHED = 2  #: frames beyond the last one of a clip that two convolutions of width 3 reach from it
_STEP = 8  #: so that there are few different lengths


def trim(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Cut off frames of spectrograms that lie beyond the end of every clip.

    Parameters
    ----------
    inputs : mapping
        With ``input_features`` ``(windows, bins, frames)`` and their mask ``(windows, frames)``.

    Examples
    --------
    >>> import torch
    >>> mask = (torch.arange(3000) < 500).int()[None]
    >>> trimmed = trim({"input_features": torch.zeros(1, 128, 3000), "feature_attention_mask": mask})
    >>> {name: tuple(tensor.shape) for name, tensor in trimmed.items()}
    {'input_features': (1, 128, 504), 'feature_attention_mask': (1, 504)}
    """
    trimmed = dict(inputs)
    for name in _MASKS:
        if name in inputs:
            needed = int(inputs[name].sum(dim=-1).max()) + _REACHED
            frames = min(-(-needed // _STEP) * _STEP, inputs[name].shape[-1])
            trimmed[name] = inputs[name][..., :frames].contiguous()
            trimmed["input_features"] = inputs["input_features"][..., :frames].contiguous()
    return trimmed


def fitting(model: Any, frames: int) -> Any:
    """Return a model whose encoder takes windows of so many frames: the same modules, but for a table cut short.

    The model itself stays as it is, also for other threads.
    """
    tower = model.model.audio_tower
    length = -(-frames // tower.conv2.stride[0])
    if length == tower.config.max_source_positions:
        return model
    cut = _shallow(tower)
    cut.config = copy.copy(tower.config)
    cut.config.max_source_positions = cut.max_source_positions = length
    cut.embed_positions = type(tower.embed_positions).from_pretrained(tower.embed_positions.weight[:length])
    inner, outer = _shallow(model.model), _shallow(model)
    inner.audio_tower, outer.model = cut, inner
    return outer


def _shallow(module: Any) -> Any:
    """Copy a module without its parts, which both then have."""
    other = copy.copy(module)
    other._modules = dict(module._modules)
    return other
