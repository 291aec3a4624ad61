"""Recording what every attention head writes: for the last tokens of a prompt, and while a model generates."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from einops import rearrange
from torch.nn.functional import pad

from calm.extract.forward.prefix_cache import PrefixCache, PrefixUse, use_prefix_cache
from calm.extract.models.decoder import DecoderHeads


class HeadRecorder:
    """Records head vectors of a model that runs while this is open.

    A hook before each attention output projection keeps the positions that are asked for of its input, on the device,
    and nothing else. Works with padding on either side, in any dtype, with grouped-query attention (one vector a
    *query* head), and for prompts that come in several parts.

    Hooks are there for as long as it is open. What the thread that opened it runs meanwhile is recorded, and nothing
    else: a pass over other inputs is refused. Threads take turns on one model.

    Parameters
    ----------
    heads : DecoderHeads
        Of the model, from :func:`calm.extract.find_heads`.
    mask : tensor (clips, length)
        The prompts' ``attention_mask``. Where each prompt is answered several times (``num_return_sequences``), it
        stands for as many rows.
    tokens : int, default=1
        1 records the last token of the prompt; m the mean over the last m, computed in float32.
    layers : sequence of int, default=None
        Record only these layers, in this order; all unless given. Of a hybrid, only layers with attention are counted.
    every : int, default=None
        None ends the forward pass at the last attention that is wanted, and leaves this context: what follows is never
        run. k lets the model go on, and records every k-th token that it generates, beginning with the first.
    beginning : PrefixUse, default=None
        Of :func:`calm.extract.forward.prefix_cache.use_prefix_cache`: how many tokens the decoder leaves out.

    Raises
    ------
    ValueError
        If ``tokens`` or ``every`` is below one, or there is no such layer.

    See Also
    --------
    record_heads : One forward pass that ends early.
    record_generation : Answers, with the head vectors of their tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny")
    >>> prompt = lalm.builder.chat("What is this?")
    >>> inputs = lalm.inputs([np.zeros(16000, dtype=np.float32)], [prompt], padding_side="left")
    >>> with HeadRecorder(lalm.heads, inputs["attention_mask"], every=2) as recorder:
    ...     answer = lalm.model.generate(**inputs, do_sample=False, min_new_tokens=6, max_new_tokens=6)
    >>> recorder.prompt.shape, recorder.generated.shape, recorder.steps
    (torch.Size([1, 6, 8, 32]), torch.Size([1, 3, 6, 8, 32]), [0, 2, 4])
    """

    def __init__(
        self,
        heads: DecoderHeads,
        mask: torch.Tensor,
        *,
        tokens: int = 1,
        layers: Sequence[int] | None = None,
        every: int | None = None,
        beginning: PrefixUse | None = None,
    ) -> None:
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {tokens!r}")
        if every is not None and every < 1:
            raise ValueError(f"every must be at least 1, got {every!r}")
        self._heads, self._wanted, self._every = heads, heads.layer_indices(layers), every
        self._mask, self._beginning = mask, beginning or PrefixUse()
        self._positions, self._share = _last_positions(mask, tokens)
        self._forget()

    def _forget(self) -> None:
        self._seen: dict[int, int] = {}  # by layer: positions that went by
        self._prompt: dict[int, torch.Tensor] = {}
        self._generated: dict[int, list[torch.Tensor]] = {layer: [] for layer in self._wanted}
        self._enough = _StopForward()

    def __enter__(self) -> Self:
        self._forget()  # what an earlier use recorded
        self._thread = threading.get_ident()
        self._open = contextlib.ExitStack()
        self._open.enter_context(self._heads.lock)
        for layer in set(self._wanted):
            projection = self._heads.projections[layer]
            hook = projection.register_forward_pre_hook(lambda _, args, layer=layer: self._see(layer, args[0]))
            self._open.callback(hook.remove)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._open.close()
        return error is self._enough

    @property
    def prompt(self) -> torch.Tensor:
        """Vectors of the prompts' last tokens, float32 ``(clips, layers, heads, dim)``.

        Those of layers with fewer or smaller heads than others are filled up with zeros, which leave products,
        distances and angles as they are.

        Raises
        ------
        RuntimeError
            If the model did not run all of the layers that are wanted over the whole prompt.
        """
        length = self._mask.shape[1]
        missing = [self._heads.layers[w] for w in sorted(set(self._wanted)) if self._seen.get(w, 0) < length]
        if missing:
            raise RuntimeError(f"the model never ran the attention of decoder layers {missing} over the whole prompt")
        return torch.stack([self._shaped(layer, self._prompt[layer]) for layer in self._wanted], dim=1)

    @property
    def generated(self) -> torch.Tensor:
        """Vectors of generated tokens, float32 ``(clips, steps, layers, heads, dim)``.

        The vector of a token is that of the position at which the model read it, and from which it went on to the
        next. The last token of an answer is never read.
        """
        by_layer = [self._generated[layer] for layer in self._wanted]
        steps = [
            torch.stack([self._shaped(layer, x) for layer, x in zip(self._wanted, step, strict=True)], dim=1)
            for step in zip(*by_layer, strict=True)
        ]
        return torch.stack(steps, dim=1) if steps else self.prompt[:, None][:, :0]

    @property
    def steps(self) -> list[int]:
        """Which generated tokens :attr:`generated` has, counted from 0."""
        return [step * (self._every or 1) for step in range(len(self._generated[self._wanted[0]]))]

    @property
    def read(self) -> int:
        """How many positions went through the last of the layers that are wanted."""
        return self._seen.get(max(self._wanted), 0)

    def _see(self, layer: int, x: torch.Tensor) -> None:
        if threading.get_ident() != self._thread:
            return  # another thread runs the model for itself
        length, start = self._mask.shape[1], self._seen.get(layer, self._beginning.skipped)
        end = start + x.shape[1]
        self._check(layer, x, start, end)
        self._seen[layer] = end
        if start < length:
            part = self._of_prompt(x, start)
            self._prompt[layer] = self._prompt[layer] + part if layer in self._prompt else part
        elif self._every is not None:
            places = range(-(start - length) % self._every, x.shape[1], self._every)
            self._generated[layer] += [x[:, place].detach().float() for place in places]
        if self._every is None and layer == max(self._wanted) and end >= length:
            raise self._enough

    def _check(self, layer: int, x: torch.Tensor, start: int, end: int) -> None:
        clips, length = self._mask.shape
        several = self._every is not None and x.shape[0] % clips == 0
        if x.ndim != 3 or (x.shape[0] != clips and not several) or start < length < end:
            raise RuntimeError(
                f"decoder layer {self._heads.layers[layer]} sees a sequence of shape {tuple(x.shape[:-1])} from "
                f"position {start} on, but the prompt's mask is {tuple(self._mask.shape)}: positions cannot be told"
            )

    def _of_prompt(self, x: torch.Tensor, start: int) -> torch.Tensor:
        """Return what positions from ``start`` on add to the mean over each prompt's last tokens."""
        times = x.shape[0] // len(self._mask)
        positions, share = (t.repeat_interleave(times, dim=0).to(x.device) for t in (self._positions, self._share))
        here = positions - start
        inside = (here >= 0) & (here < x.shape[1])
        rows = torch.arange(len(x), device=x.device)[:, None]
        chosen = x[rows, here.clamp(0, x.shape[1] - 1)].detach().float()  # (clips, tokens, ·)
        chosen = torch.where(inside[..., None], chosen, 0.0)
        return chosen[:, 0] if chosen.shape[1] == 1 else torch.einsum("bt,btc->bc", share, chosen)

    def _shaped(self, layer: int, flat: torch.Tensor) -> torch.Tensor:
        n_heads, dim = self._heads.sizes[layer]
        _, most_heads, most_dims = self._heads.shape
        vectors = rearrange(flat, "b (h d) -> b h d", h=n_heads)
        return pad(vectors, (0, most_dims - dim, 0, most_heads - n_heads)).to(self._mask.device)


class _StopForward(Exception):
    """Ends a forward pass whose head vectors are all there."""


@torch.inference_mode()
def record_heads(
    model: Any,
    heads: DecoderHeads,
    inputs: Mapping[str, Any],
    *,
    tokens: int = 1,
    layers: Sequence[int] | None = None,
    prefix: PrefixCache | None = None,
) -> torch.Tensor:
    """Run a forward pass up to the last attention, keeping the head vectors of the prompts' last tokens.

    The remaining projection, feed-forward block, final norm and language-model head are never run.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    heads : DecoderHeads
        Of this model, from :func:`calm.extract.find_heads`.
    inputs : mapping
        What the processor made, with ``attention_mask`` ``(clips, length)``, on the model's device.
    tokens, layers
        As :class:`HeadRecorder` takes them.
    prefix : PrefixCache, default=None
        Of the tokens with which all prompts begin, from :class:`calm.extract.forward.prefix_cache.PrefixCaches`: the
        decoder leaves them out. None of the last ``tokens`` may be among them.

    Returns
    -------
    float32 tensor (clips, layers, heads, dim), on the device of the inputs
        See :attr:`HeadRecorder.prompt`.

    Raises
    ------
    ValueError
        If ``tokens`` is below one, or there is no such layer.
    RuntimeError
        If the model did not run all of its layers in order over the sequence that the mask describes.

    See Also
    --------
    HeadRecorder : What this is made of; records while a model generates too.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny")
    >>> inputs = lalm.inputs([np.zeros(16000, dtype=np.float32)], [lalm.builder.chat("What is this?")])
    >>> record_heads(lalm.model, lalm.heads, inputs).shape
    torch.Size([1, 6, 8, 32])
    """
    mask = inputs["attention_mask"]
    with (
        use_prefix_cache(model, prefix) as beginning,
        HeadRecorder(heads, mask, tokens=tokens, layers=layers, beginning=beginning) as recorder,
    ):
        model(**inputs, use_cache=False)
    return recorder.prompt


def _last_positions(mask: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the last ``tokens`` positions of each prompt, with padding on either side.

    Returns
    -------
    positions : int tensor (clips, tokens)
    share : float tensor (clips, tokens)
        Equal over the positions that are in the prompt, zero where the prompt is shorter than ``tokens``.
    """
    mask, tokens = mask.bool(), min(tokens, mask.shape[1])
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    positions = (last[:, None] - torch.arange(tokens, device=mask.device)).clamp(min=0)
    inside = torch.arange(tokens, device=mask.device)[None] < mask.sum(dim=1, keepdim=True)
    return positions, inside / inside.sum(dim=1, keepdim=True)
