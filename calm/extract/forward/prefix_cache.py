"""KV cache of the prompt prefix, the leading tokens that all prompts share.

The prompts of a run are equal up to the placeholder of the audio. Because attention is causal, the keys and values of
these tokens do not depend on what follows. They are computed once, and every clip attends to them. Only the tokens
after the prefix run for each clip.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from calm.extract.models.decoder import DecoderHeads, inner_decoder

if TYPE_CHECKING:
    from calm.extract.models.lalm import LALM

#: A shorter prefix saves too little time to be worth a cache.
_MIN_PREFIX_TOKENS = 4

#: Number of different prefixes whose KV cache is kept; the oldest is dropped first.
_MAX_PREFIX_CACHES = 4

#: Decoder arguments that :func:`use_prefix_cache` can shorten. Any other tensor argument disables the prefix cache.
_SUPPORTED_ARGUMENTS = {"input_ids", "inputs_embeds", "attention_mask", "position_ids", "cache_position"}


@dataclass
class PrefixCache:
    """Keys and values of the shared prompt prefix in each decoder layer."""

    embeddings: torch.Tensor  #: input embeddings of the prefix, (1, length, width)
    cache: Cache  #: read-only keys and values, for batches of any size
    verified: bool | None = None  #: whether the decoder receives these embeddings at these positions; None: unchecked

    @property
    def length(self) -> int:
        """Number of tokens in the prefix."""
        return self.embeddings.shape[1]

    def verify(self, kwargs: Mapping[str, Any]) -> bool:
        """Return whether the decoder receives the inputs from which the keys and values were computed.

        Only the first call compares them; its result is kept.
        """
        if self.verified is None:
            embeddings, positions = kwargs.get("inputs_embeds"), kwargs.get("position_ids")
            is_same = embeddings is None or bool((embeddings[:, : self.length] == self.embeddings).all())
            if positions is not None:
                expected = torch.arange(self.length, device=positions.device)
                is_same = is_same and bool((positions[..., : self.length] == expected).all())
            self.verified = is_same
        return self.verified


class _PrefixCacheLayer(DynamicLayer):
    """Read-only keys and values ``(1, n_heads, length, head_dim)`` that precede those of every clip."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.keys, self.values = layer.keys, layer.values
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = (self.keys, key_states), (self.values, value_states)
        keys, values = (torch.cat([prefix.expand(len(new), -1, -1, -1), new], dim=-2) for prefix, new in pairs)
        return keys, values


def shared_prefix_tokens(
    inputs: Mapping[str, torch.Tensor], media_tokens: Collection[int], tokens: int
) -> tuple[int, ...]:
    """Return the leading tokens that all prompts of a batch share, up to the first audio or video placeholder.

    Parameters
    ----------
    inputs : mapping of str to tensor
        ``input_ids`` and ``attention_mask`` of shape ``(n_clips, length)``, padded on the right.
    media_tokens : collection of int
        Ids of the placeholder tokens for audio and video.
    tokens : int
        Number of tokens at the end of the shortest prompt that are never part of the prefix.

    Examples
    --------
    >>> ids = torch.tensor([[7, 8, 1, 1, 9], [7, 8, 1, 5, 0]])
    >>> shared_prefix_tokens({"input_ids": ids, "attention_mask": (ids > 0).int()}, media_tokens=[1], tokens=1)
    (7, 8)
    """
    ids = inputs["input_ids"]
    is_shared = (ids == ids[:1]).all(dim=0) & ~torch.isin(ids, torch.tensor(sorted(media_tokens))).any(dim=0)
    length = min(int(is_shared.int().cumprod(dim=0).sum()), int(inputs["attention_mask"].sum(dim=1).min()) - tokens)
    return tuple(ids[0, : max(0, length)].tolist())


class _StopForward(Exception):
    """Ends a forward pass at the last layer whose keys and values are needed."""


@torch.inference_mode()
def compute_prefix_cache(model: Any, heads: DecoderHeads, tokens: tuple[int, ...], last: int) -> PrefixCache | None:
    """Compute the KV cache of a prompt prefix, up to the last requested attention layer.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Model whose decoder runs over the prefix.
    heads : DecoderHeads
        Attention heads of the model.
    tokens : tuple of int
        Token ids of the prefix.
    last : int
        Index of the last requested layer among the layers with attention.

    Returns
    -------
    PrefixCache or None
        None if a layer keeps anything else than keys and values of all tokens, such as a sliding window or a recurrent
        state.
    """
    embed, stop, thread = model.get_input_embeddings(), _StopForward(), threading.get_ident()
    embeddings = embed(torch.tensor([tokens], device=embed.weight.device))
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))

    def stop_forward(*_: Any) -> None:
        if threading.get_ident() == thread:
            raise stop

    hook = heads.projections[last].register_forward_pre_hook(stop_forward)
    try:
        inner_decoder(model)(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
    except _StopForward as signal:
        if signal is not stop:
            raise
    finally:
        hook.remove()
    layers = cache.layers[: heads.layers[last] + 1]
    if any(type(layer) is not DynamicLayer or layer.get_seq_length() != len(tokens) for layer in layers):
        return None
    return PrefixCache(embeddings, Cache(layers=[_PrefixCacheLayer(layer) for layer in layers]))


class PrefixCaches:
    """KV caches of the prompt prefixes of a run.

    Parameters
    ----------
    lalm : LALM
        Model of the run.
    tokens : int, default=1
        Number of last prompt tokens that are recorded. They are never part of a prefix.
    layers : sequence of int, default=None
        Indices of the layers that are recorded. None means all layers.
    """

    def __init__(self, lalm: LALM, tokens: int = 1, layers: Sequence[int] | None = None) -> None:
        self._lalm, self._media_tokens, self._tokens = lalm, lalm.builder.media_token_ids, tokens
        self._last = max(lalm.heads.layer_indices(layers))
        self._caches: dict[tuple[int, ...], PrefixCache | None] = {}

    def get(self, prepared: Mapping[str, torch.Tensor]) -> PrefixCache | None:
        """Return the KV cache of the prefix that the prompts of a batch share, computed at its first use.

        Parameters
        ----------
        prepared : mapping of str to tensor
            Inputs from :meth:`calm.extract.InputBuilder.prepare`, padded on the right.

        Returns
        -------
        PrefixCache or None
            Argument ``prefix`` of :func:`calm.extract.record_heads`. None if the prefix is too short, or the decoder
            cannot continue from a cache.
        """
        prefix = shared_prefix_tokens(prepared, self._media_tokens, self._tokens) if self._media_tokens else ()
        if len(prefix) < _MIN_PREFIX_TOKENS:
            return None
        if prefix not in self._caches:
            while len(self._caches) >= _MAX_PREFIX_CACHES:
                self._caches.pop(next(iter(self._caches)))
            with self._lalm.heads.lock:  # one thread at a time runs the model
                self._caches[prefix] = compute_prefix_cache(self._lalm.model, self._lalm.heads, prefix, self._last)
        return self._caches[prefix]


class PrefixUse:
    """How many tokens of the prefix the decoder skipped in a forward pass."""

    skipped = 0  #: number of skipped tokens; 0 until the decoder has started


@contextlib.contextmanager
def use_prefix_cache(model: Any, prefix: PrefixCache | None) -> Iterator[PrefixUse]:
    """Let the decoder skip the tokens of the prefix and attend to their cached keys and values.

    The decoder runs over the whole prompt if it receives other embeddings than those of the prefix, or a per-token
    argument that this function cannot shorten.
    """
    prefix_use, thread = PrefixUse(), threading.get_ident()
    if prefix is None:
        yield prefix_use
        return
    length = prefix.length

    def skip_prefix(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if threading.get_ident() != thread:
            return None  # another thread runs the same model without a prefix cache
        given = {name: value for name, value in kwargs.items() if not (value is None or isinstance(value, bool))}
        mask = given.get("attention_mask")
        is_supported = (
            not args and given.keys() <= _SUPPORTED_ARGUMENTS and (mask is None or getattr(mask, "ndim", 0) == 2)
        )
        if not is_supported or not prefix.verify(given):
            return None
        changed: dict[str, Any] = {"past_key_values": prefix.cache}
        for name in ("input_ids", "position_ids", "cache_position"):
            if name in given:
                changed[name] = given[name][..., length:]
        if "inputs_embeds" in given:
            changed["inputs_embeds"] = given["inputs_embeds"][:, length:]
        prefix_use.skipped = length
        return args, kwargs | changed

    hook = inner_decoder(model).register_forward_pre_hook(skip_prefix, with_kwargs=True)
    try:
        yield prefix_use
    finally:
        hook.remove()
