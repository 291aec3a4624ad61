"""Recording of head vectors by forward hooks: of a prompt's last tokens, and of generated tokens."""

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
    """Context manager that records the head vectors of a model while it runs.

    A forward hook before each attention output projection keeps the requested positions of its input, on the device.
    It works with padding on either side, with any dtype, with grouped-query attention (one vector per *query* head),
    and with prompts that are processed in several chunks.

    Hooks exist only inside the context. They record the thread that entered it, and refuse inputs that do not match
    the attention mask. A lock lets one thread at a time record a model.

    Parameters
    ----------
    heads : DecoderHeads
        Attention heads of the model, from :func:`calm.extract.find_heads`.
    mask : tensor of shape (n_clips, length)
        Attention mask of the prompts. With ``num_return_sequences``, one row stands for all answers to its prompt.
    tokens : int, default=1
        Number of last prompt tokens whose mean vector is recorded, computed in float32. 1 records the last token
        alone.
    layers : sequence of int, default=None
        Indices of the layers to record, in this order. None records all layers. For hybrid decoders, only layers with
        attention count.
    every : int, default=None
        None ends the forward pass and leaves the context at the last requested attention layer; the rest of the model
        is not computed. An integer k lets the model continue, and records the first generated token and every k-th
        token after it.
    prefix_use : PrefixUse, default=None
        Number of leading tokens that the decoder skips, from ``use_prefix_cache``. None means that it skips none.

    Attributes
    ----------
    prompt : tensor of shape (n_clips, n_layers, n_heads, head_dim)
        Head vectors of the prompts' last tokens.
    generated : tensor of shape (n_clips, n_steps, n_layers, n_heads, head_dim)
        Head vectors of the generated tokens, with ``every``.
    steps : list of int
        Indices of the recorded tokens among the generated ones.
    read : int
        Number of positions that the decoder has read.

    Raises
    ------
    ValueError
        If ``tokens`` or ``every`` is below 1, or ``layers`` names a layer that does not exist.

    See Also
    --------
    calm.extract.record_heads : Run one forward pass that ends early.
    calm.extract.record_generation : Generate answers and record their head vectors.

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
        prefix_use: PrefixUse | None = None,
    ) -> None:
        if tokens < 1:
            raise ValueError(f"tokens must be at least 1, got {tokens!r}")
        if every is not None and every < 1:
            raise ValueError(f"every must be at least 1, got {every!r}")
        self._heads, self._layers, self._every = heads, heads.layer_indices(layers), every
        self._mask, self._prefix_use = mask, prefix_use or PrefixUse()
        self._positions, self._weights = _last_positions(mask, tokens)
        self._reset()

    def _reset(self) -> None:
        self._n_read: dict[int, int] = {}  # number of positions that each layer has read
        self._prompt: dict[int, torch.Tensor] = {}
        self._generated: dict[int, list[torch.Tensor]] = {layer: [] for layer in self._layers}
        self._stop = _StopForward()

    def __enter__(self) -> Self:
        self._reset()  # forget what an earlier use recorded
        self._thread = threading.get_ident()
        self._exit_stack = contextlib.ExitStack()
        self._exit_stack.enter_context(self._heads.lock)
        for layer in set(self._layers):
            projection = self._heads.projections[layer]
            hook = projection.register_forward_pre_hook(lambda _, args, layer=layer: self._record(layer, args[0]))
            self._exit_stack.callback(hook.remove)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._exit_stack.close()
        return error is self._stop

    @property
    def prompt(self) -> torch.Tensor:
        """Head vectors of the prompts' last tokens, float32, of shape ``(n_clips, n_layers, n_heads, head_dim)``.

        Layers with fewer or smaller heads than others are padded with zeros. Zeros do not change dot products,
        distances or angles.

        Raises
        ------
        RuntimeError
            If the model has not run all requested layers over the whole prompt.
        """
        length = self._mask.shape[1]
        missing = [self._heads.layers[i] for i in sorted(set(self._layers)) if self._n_read.get(i, 0) < length]
        if missing:
            raise RuntimeError(f"the model did not run the attention of decoder layers {missing} over the whole prompt")
        return torch.stack([self._split_heads(layer, self._prompt[layer]) for layer in self._layers], dim=1)

    @property
    def generated(self) -> torch.Tensor:
        """Head vectors of generated tokens, float32, ``(n_clips, n_steps, n_layers, n_heads, head_dim)``.

        The vector of a token belongs to the position at which the model reads the token and predicts the next one.
        The model never reads the last token of an answer.
        """
        by_layer = [self._generated[layer] for layer in self._layers]
        steps = [
            torch.stack([self._split_heads(layer, x) for layer, x in zip(self._layers, step, strict=True)], dim=1)
            for step in zip(*by_layer, strict=True)
        ]
        return torch.stack(steps, dim=1) if steps else self.prompt[:, None][:, :0]

    @property
    def steps(self) -> list[int]:
        """Indices of the recorded tokens among the generated ones, counted from 0."""
        return [step * (self._every or 1) for step in range(len(self._generated[self._layers[0]]))]

    @property
    def read(self) -> int:
        """Number of positions that the last requested layer has read."""
        return self._n_read.get(max(self._layers), 0)

    def _record(self, layer: int, x: torch.Tensor) -> None:
        """Record the input of one output projection, of shape ``(n_sequences, n_positions, n_heads * head_dim)``."""
        if threading.get_ident() != self._thread:
            return  # another thread runs the same model without recording
        length, start = self._mask.shape[1], self._n_read.get(layer, self._prefix_use.skipped)
        end = start + x.shape[1]
        self._check_shape(layer, x, start, end)
        self._n_read[layer] = end
        if start < length:
            partial = self._weighted_sum(x, start)
            self._prompt[layer] = self._prompt[layer] + partial if layer in self._prompt else partial
        elif self._every is not None:
            offsets = range(-(start - length) % self._every, x.shape[1], self._every)
            self._generated[layer] += [x[:, offset].detach().float() for offset in offsets]
        if self._every is None and layer == max(self._layers) and end >= length:
            raise self._stop

    def _check_shape(self, layer: int, x: torch.Tensor, start: int, end: int) -> None:
        """Refuse inputs whose positions in the prompt cannot be determined."""
        n_clips, length = self._mask.shape
        has_several_answers = self._every is not None and x.shape[0] % n_clips == 0
        if x.ndim != 3 or (x.shape[0] != n_clips and not has_several_answers) or start < length < end:
            raise RuntimeError(
                f"decoder layer {self._heads.layers[layer]} received a sequence of shape {tuple(x.shape[:-1])} at "
                f"position {start}, which does not match the attention mask of shape {tuple(self._mask.shape)}"
            )

    def _weighted_sum(self, x: torch.Tensor, start: int) -> torch.Tensor:
        """Return the contribution of a chunk at position ``start`` to the mean over the last prompt tokens."""
        repeats = x.shape[0] // len(self._mask)
        positions, weights = (
            t.repeat_interleave(repeats, dim=0).to(x.device) for t in (self._positions, self._weights)
        )
        offsets = positions - start
        is_inside = (offsets >= 0) & (offsets < x.shape[1])
        rows = torch.arange(len(x), device=x.device)[:, None]
        chosen = x[rows, offsets.clamp(0, x.shape[1] - 1)].detach().float()  # (sequences, tokens, heads * dim)
        chosen = torch.where(is_inside[..., None], chosen, 0.0)
        return chosen[:, 0] if chosen.shape[1] == 1 else torch.einsum("bt,btc->bc", weights, chosen)

    def _split_heads(self, layer: int, flat: torch.Tensor) -> torch.Tensor:
        """Split vectors of one layer into heads, and pad them to the largest layer, on the mask's device."""
        n_heads, dim = self._heads.sizes[layer]
        _, max_heads, max_dim = self._heads.shape
        vectors = rearrange(flat, "b (h d) -> b h d", h=n_heads)
        return pad(vectors, (0, max_dim - dim, 0, max_heads - n_heads)).to(self._mask.device)


class _StopForward(Exception):
    """Ends a forward pass after the last requested layer."""


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
    """Run a forward pass up to the last attention layer and return the head vectors of the prompts' last tokens.

    The output projection and feed-forward block after it, the final norm and the language-model head are not computed.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Model to run.
    heads : DecoderHeads
        Attention heads of the model, from :func:`calm.extract.find_heads`.
    inputs : mapping of str to tensor
        Model inputs on the model's device, with an ``attention_mask`` of shape ``(n_clips, length)``.
    tokens : int, default=1
        Number of last prompt tokens whose mean vector is returned. 1 returns the vector of the last token.
    layers : sequence of int, default=None
        Indices of the layers to record, in this order. None records all layers. For hybrid decoders, only layers with
        attention count.
    prefix : PrefixCache, default=None
        KV cache of the shared prompt prefix, from ``PrefixCaches``. The decoder skips these tokens, which must not
        include any of the last ``tokens``. None runs the decoder over the whole prompt.

    Returns
    -------
    tensor of shape (n_clips, n_layers, n_heads, head_dim)
        Head vectors, float32, on the device of the inputs; see :attr:`HeadRecorder.prompt`.

    Raises
    ------
    ValueError
        If ``tokens`` is below 1, or ``layers`` names a layer that does not exist.
    RuntimeError
        If the model does not run all its layers in order over the sequence that the mask describes.

    See Also
    --------
    calm.extract.HeadRecorder : Record any run of a model, also while it generates.
    calm.extract.head_vectors : Decode clips and compute their head vectors in batches.

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
        use_prefix_cache(model, prefix) as prefix_use,
        HeadRecorder(heads, mask, tokens=tokens, layers=layers, prefix_use=prefix_use) as recorder,
    ):
        model(**inputs, use_cache=False)
    return recorder.prompt


def _last_positions(mask: torch.Tensor, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the last ``tokens`` positions of each prompt, with padding on either side.

    Returns
    -------
    positions : int tensor of shape (n_clips, tokens)
    weights : float tensor of shape (n_clips, tokens)
        Equal weights for positions inside the prompt, and zero where the prompt is shorter than ``tokens``.
    """
    mask, tokens = mask.bool(), min(tokens, mask.shape[1])
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)
    positions = (last[:, None] - torch.arange(tokens, device=mask.device)).clamp(min=0)
    is_inside = torch.arange(tokens, device=mask.device)[None] < mask.sum(dim=1, keepdim=True)
    return positions, is_inside / is_inside.sum(dim=1, keepdim=True)
