"""Recording what every attention head writes for the last tokens of the prompt."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange

if TYPE_CHECKING:
    from calm.extract.decoder import DecoderHeads


class _Recorded(Exception):
    """Ends a forward pass whose head vectors are all there."""


class HeadRecorder:
    """Run a model's forward pass up to its last attention, keeping the head vectors of chosen positions.

    A hook before each output projection keeps the requested positions of its input and nothing else. The pass ends at
    the last one: the remaining projection, feed-forward block, final norm and language-model head are never run. Works
    with padding on either side, in any dtype, and with grouped-query attention (one vector a *query* head).

    Parameters
    ----------
    heads : DecoderHeads
        From :func:`calm.extract.find_heads`.
    tokens : int
        1 takes the last token of the prompt; m takes the mean over the last m, computed in float32.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny")
    >>> inputs = lalm.inputs([np.zeros(16000, dtype=np.float32)], [lalm.chat("What is this?")])
    >>> with HeadRecorder(lalm.heads) as record:
    ...     record(lalm.model, inputs).shape  # (clips, layers, heads, dim)
    torch.Size([1, 6, 6, 32])
    """

    def __init__(self, heads: DecoderHeads, *, tokens: int = 1) -> None:
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {tokens!r}")
        self.heads = heads
        self.tokens = tokens
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._positions: torch.Tensor | None = None  # (clips, tokens) of the pass under way
        self._share: torch.Tensor | None = None  # (clips, tokens), what each position weighs in the mean
        self._kept: dict[int, torch.Tensor] = {}

    def __enter__(self) -> HeadRecorder:
        for layer, projection in enumerate(self.heads.projections):
            self._hooks.append(projection.register_forward_pre_hook(self._keep(layer)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    @torch.inference_mode()
    def __call__(self, model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Return the head vectors of a batch of prompts.

        Parameters
        ----------
        model : transformers.PreTrainedModel
        inputs : mapping
            What the processor made, with ``attention_mask`` ``(clips, length)``, on the model's device.

        Returns
        -------
        float32 tensor (clips, layers, heads, dim), on the CPU

        Raises
        ------
        RuntimeError
            If the model did not run all of its layers in order over the sequence that the mask describes.
        """
        if not self._hooks:
            raise RuntimeError("use the recorder in a with statement, so that its hooks are there and then removed")
        self._kept = {}
        self._positions, self._share = _last_positions(inputs["attention_mask"], self.tokens)
        self._length = inputs["attention_mask"].shape[1]
        with contextlib.suppress(_Recorded):
            model(**inputs, use_cache=False)
        if len(self._kept) != len(self.heads.projections):
            missing = sorted(set(range(len(self.heads.projections))) - set(self._kept))
            raise RuntimeError(f"{type(model).__name__} never ran the attention of decoder layers {missing}")
        return torch.stack([self._kept[layer].cpu() for layer in range(len(self._kept))], dim=1)

    def _keep(self, layer: int) -> Any:
        last = len(self.heads.projections) - 1

        def hook(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            assert self._positions is not None and self._share is not None
            x = args[0]
            if x.ndim != 3 or x.shape[:2] != (len(self._positions), self._length):
                raise RuntimeError(
                    f"decoder layer {layer} sees a sequence of shape {tuple(x.shape)}, but the prompt's mask is "
                    f"({len(self._positions)}, {self._length}): positions cannot be told"
                )
            rows = torch.arange(len(x), device=x.device)[:, None]
            chosen = x[rows, self._positions.to(x.device)].float()  # (clips, tokens, heads·dim)
            mean = torch.einsum("bt,btc->bc", self._share.to(x.device), chosen) if self.tokens > 1 else chosen[:, 0]
            self._kept[layer] = rearrange(mean, "b (h d) -> b h d", h=self.heads.n_heads)
            if layer == last:
                raise _Recorded

        return hook


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
