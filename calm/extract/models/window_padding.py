"""Removal of the silence that pads a clip to the encoder's window, where it does not affect the clip.

Encoders like Whisper's take windows of a fixed length, 30 s, and mask the padding of a clip in their attention. A clip
of 5 s then costs six times what it needs. The masked frames are removed instead, together with their rows of the
position table. Two frames stay, because the convolutions at the end of the clip reach them. The remaining frames are
computed from the same numbers as before.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_MASKS = ("feature_attention_mask", "input_features_mask")

#: Frames after the end of a clip that two convolutions of width 3 reach from its last frame.
_REACHED_FRAMES = 2

#: The number of frames is rounded up to a multiple of this, which limits the number of different lengths.
_FRAME_MULTIPLE = 8


def trim_windows(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Remove spectrogram frames after the end of the longest clip.

    Parameters
    ----------
    inputs : mapping of str to tensor
        Model inputs with ``input_features`` of shape ``(n_windows, n_bins, n_frames)`` and their mask of shape
        ``(n_windows, n_frames)``.

    Examples
    --------
    >>> import torch
    >>> mask = (torch.arange(3000) < 500).int()[None]
    >>> trimmed = trim_windows({"input_features": torch.zeros(1, 128, 3000), "feature_attention_mask": mask})
    >>> {name: tuple(tensor.shape) for name, tensor in trimmed.items()}
    {'input_features': (1, 128, 504), 'feature_attention_mask': (1, 504)}
    """
    trimmed = dict(inputs)
    for name in _MASKS:
        if name in inputs:
            needed = int(inputs[name].sum(dim=-1).max()) + _REACHED_FRAMES
            frames = min(-(-needed // _FRAME_MULTIPLE) * _FRAME_MULTIPLE, inputs[name].shape[-1])
            trimmed[name] = inputs[name][..., :frames].contiguous()
            trimmed["input_features"] = inputs["input_features"][..., :frames].contiguous()
    return trimmed


def shorten_encoder_window(model: Any, frames: int) -> Any:
    """Return a model whose encoder takes windows of ``frames`` frames.

    It shares all modules with the given model except for a shortened position table. The given model stays unchanged,
    also for other threads.
    """
    tower = model.model.audio_tower
    length = -(-frames // tower.conv2.stride[0])
    if length == tower.config.max_source_positions:
        return model
    short_tower = _shallow_copy(tower)
    short_tower.config = copy.copy(tower.config)
    short_tower.config.max_source_positions = short_tower.max_source_positions = length
    short_tower.embed_positions = type(tower.embed_positions).from_pretrained(tower.embed_positions.weight[:length])
    inner, outer = _shallow_copy(model.model), _shallow_copy(model)
    inner.audio_tower, outer.model = short_tower, inner
    return outer


def _shallow_copy(module: Any) -> Any:
    """Copy a module without copying its children, so that a child can be replaced in the copy alone."""
    duplicate = copy.copy(module)
    duplicate._modules = dict(module._modules)
    return duplicate
