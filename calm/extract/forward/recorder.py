"""Recording what every attention head writes for the last tokens of the prompt."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch.nn.functional import pad

from calm.extract.forward.prefix import SharedPrefix, after_prefix
from calm.extract.models.decoder import DecoderHeads


class _Recorded(Exception):
    """Ends a forward pass whose head vectors are all there."""


@torch.inference_mode()
def record_heads(
    model: Any,
    heads: DecoderHeads,
    inputs: Mapping[str, Any],
    *,
    tokens: int = 1,
    layers: Sequence[int] | None = None,
    prefix: SharedPrefix | None = None,
) -> torch.Tensor:
    """Run a forward pass up to the last attention, keeping the head vectors of chosen positions.

    A hook before each output projection keeps the requested positions of its input and nothing else. The pass ends at
    the last one: the remaining projection, feed-forward block, final norm and language-model head are never run. Works
    with padding on either side, in any dtype, and with grouped-query attention (one vector a *query* head).

    Hooks are there for the length of the pass. Threads take turns on one model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    heads : DecoderHeads
        Of this model, from :func:`calm.extract.find_heads`.
    inputs : mapping
        What the processor made, with ``attention_mask`` ``(clips, length)``, on the model's device.
    tokens : int
        1 takes the last token of the prompt; m takes the mean over the last m, computed in float32.
    layers : sequence of int, optional
        Record only these layers, in this order; the pass ends at the last of them. All unless given. Of a hybrid,
        only layers with attention are counted.
    prefix : SharedPrefix, optional
        Of the tokens with which all prompts begin, from :class:`calm.extract.prefix.SharedPrefixes`: the decoder leaves
        them out. None of the last ``tokens`` may be among them.

    Returns
    -------
    float32 tensor (clips, layers, heads, dim), on the device of the inputs
        Vectors of layers with fewer or smaller heads than others are filled up with zeros, which leave products,
        distances and angles as they are.

    Raises
    ------
    ValueError
        If ``tokens`` is below one, or there is no such layer.
    RuntimeError
        If the model did not run all of its layers in order over the sequence that the mask describes.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny")
    >>> inputs = lalm.inputs([np.zeros(16000, dtype=np.float32)], [lalm.chat("What is this?")])
    >>> record_heads(lalm.model, lalm.heads, inputs).shape
    torch.Size([1, 6, 8, 32])
    """
    if tokens < 1:
        raise ValueError(f"tokens must be at least 1, got {tokens!r}")
    wanted = heads.chosen(layers)
    mask = inputs["attention_mask"]
    positions, share = _last_positions(mask, tokens)
    thread, last = threading.get_ident(), max(wanted)
    _, most_heads, most_dims = heads.shape
    kept: dict[int, torch.Tensor] = {}
    enough = _Recorded()

    def keep(layer: int, x: torch.Tensor) -> None:
        if threading.get_ident() != thread:
            return  # another thread runs the model for itself
        skipped = beginning.skipped
        if x.shape[:-1] != (len(mask), mask.shape[1] - skipped):
            raise RuntimeError(
                f"decoder layer {heads.layers[layer]} sees a sequence of shape {tuple(x.shape)}, but the prompt's mask "
                f"is {tuple(mask.shape)}: positions cannot be told"
            )
        rows = torch.arange(len(x), device=x.device)[:, None]
        chosen = x[rows, positions.to(x.device) - skipped].float()  # (clips, tokens, heads · dim)
        mean = torch.einsum("bt,btc->bc", share.to(x.device), chosen) if tokens > 1 else chosen[:, 0]
        n_heads, dim = heads.sizes[layer]
        vectors = rearrange(mean, "b (h d) -> b h d", h=n_heads)
        kept[layer] = pad(vectors, (0, most_dims - dim, 0, most_heads - n_heads))
        if layer == last:
            raise enough

    with heads.lock, contextlib.ExitStack() as hooks:
        beginning = hooks.enter_context(after_prefix(model, prefix))
        for layer in set(wanted):
            projection = heads.projections[layer]
            hook = projection.register_forward_pre_hook(lambda _, args, layer=layer: keep(layer, args[0]))
            hooks.callback(hook.remove)
        try:
            model(**inputs, use_cache=False)
        except _Recorded as signal:
            if signal is not enough:
                raise
    missing = [heads.layers[layer] for layer in sorted(set(wanted) - set(kept))]
    if missing:
        raise RuntimeError(f"{type(model).__name__} never ran the attention of decoder layers {missing}")
    return torch.stack([kept[layer].to(mask.device) for layer in wanted], dim=1)


def _last_positions(mask: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the last ``tokens`` positions of each prompt, with padding on either side.

    Returns
    -------
    positions : int tensor (clips, tokens)
    share : float tensor (clips, tokens)
        Equal over the positions that are in the prompt, zero where the prompt is shorter than ``tokens``.
    """
    mask = mask.bool()
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    positions = (last[:, None] - torch.arange(tokens, device=mask.device)).clamp(min=0)
    inside = torch.arange(tokens, device=mask.device)[None] < mask.sum(dim=1, keepdim=True)
    return positions, inside / inside.sum(dim=1, keepdim=True)
