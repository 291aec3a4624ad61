"""The tokens with which all prompts begin: they go through the decoder once, and never again.

Up to the mark of the sound, the prompts of a run are the same. What the decoder's layers keep of those tokens (their
keys and values) depends on nothing that follows, by causality, and so every clip can attend to the same. Only what
comes after them runs for each clip.
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

#: Fewer tokens than these are not worth the trouble; and of more than so many different beginnings, the oldest go.
_MIN_PREFIX_TOKENS, _MAX_PREFIX_CACHES = 4, 4

#: What a decoder may be told beside its tokens without the hook here having to know what it means.
_KNOWN = {"input_ids", "inputs_embeds", "attention_mask", "position_ids", "cache_position"}


@dataclass
class PrefixCache:
    """What a decoder's layers keep of some tokens."""

    embeddings: torch.Tensor  #: of the tokens, (1, length, width)
    cache: Cache  #: read only, for batches of any size
    verified: bool | None = None  #: whether the decoder was given just these embeddings, and positions from 0

    @property
    def length(self) -> int:
        """How many tokens."""
        return self.embeddings.shape[1]

    def verify(self, kwargs: Mapping[str, Any]) -> bool:
        """Tell, when it is first asked, whether a decoder is given what the keys and values were made from."""
        if self.verified is None:
            given, positions = kwargs.get("inputs_embeds"), kwargs.get("position_ids")
            same = given is None or bool((given[:, : self.length] == self.embeddings).all())
            if positions is not None:
                counted = torch.arange(self.length, device=positions.device)
                same = same and bool((positions[..., : self.length] == counted).all())
            self.verified = same
        return self.verified


class _PrefixCacheLayer(DynamicLayer):
    """Keys and values ``(1, heads, length, dim)`` that stand before those of every clip, and are not added to."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.keys, self.values = layer.keys, layer.values
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = (self.keys, key_states), (self.values, value_states)
        before, after = (torch.cat([first.expand(len(new), -1, -1, -1), new], dim=-2) for first, new in pairs)
        return before, after


def shared_prefix_tokens(inputs: Mapping[str, torch.Tensor], marks: Collection[int], tokens: int) -> tuple[int, ...]:
    """Return the tokens with which all prompts of a batch begin, before any that stands for sound or pictures.

    Parameters
    ----------
    inputs : mapping
        With ``input_ids`` and ``attention_mask`` ``(clips, length)``, padded on the right.
    marks : collection of int
        The tokens that stand for sound or pictures.
    tokens : int
        So many at the end of the shortest prompt are not taken.

    Examples
    --------
    >>> ids = torch.tensor([[7, 8, 1, 1, 9], [7, 8, 1, 5, 0]])
    >>> shared_prefix_tokens({"input_ids": ids, "attention_mask": (ids > 0).int()}, marks=[1], tokens=1)
    (7, 8)
    """
    ids = inputs["input_ids"]
    shared = (ids == ids[:1]).all(dim=0) & ~torch.isin(ids, torch.tensor(sorted(marks))).any(dim=0)
    length = min(int(shared.int().cumprod(dim=0).sum()), int(inputs["attention_mask"].sum(dim=1).min()) - tokens)
    return tuple(ids[0, : max(0, length)].tolist())


class _StopForward(Exception):
    """Ends a pass at the last layer whose keys and values are wanted."""


@torch.inference_mode()
def compute_prefix_cache(model: Any, heads: DecoderHeads, tokens: tuple[int, ...], last: int) -> PrefixCache | None:
    """Run a decoder over the first tokens of its prompts, up to the last attention that is wanted.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    heads : DecoderHeads
        Of this model.
    tokens : tuple of int
    last : int
        Which of the layers with heads is the last.

    Returns
    -------
    PrefixCache or None
        None where a layer keeps anything else than keys and values of all tokens: a sliding window, a recurrent state.
    """
    embed, enough, thread = model.get_input_embeddings(), _StopForward(), threading.get_ident()
    embeddings = embed(torch.tensor([tokens], device=embed.weight.device))
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))

    def stop(*_: Any) -> None:
        if threading.get_ident() == thread:
            raise enough

    hook = heads.projections[last].register_forward_pre_hook(stop)
    try:
        inner_decoder(model)(inputs_embeds=embeddings, past_key_values=cache, use_cache=True)
    except _StopForward as signal:
        if signal is not enough:
            raise
    finally:
        hook.remove()
    layers = cache.layers[: heads.layers[last] + 1]
    if any(type(layer) is not DynamicLayer or layer.get_seq_length() != len(tokens) for layer in layers):
        return None
    return PrefixCache(embeddings, Cache(layers=[_PrefixCacheLayer(layer) for layer in layers]))


class PrefixCaches:
    """The beginnings of a run's prompts.

    Parameters
    ----------
    lalm : LALM
    tokens : int
        How many of the last tokens are recorded: they are no beginning.
    layers : sequence of int, optional
        Those that are recorded; all unless given.
    """

    def __init__(self, lalm: LALM, tokens: int = 1, layers: Sequence[int] | None = None) -> None:
        self._lalm, self._marks, self._tokens = lalm, lalm.builder.media_token_ids, tokens
        self._last = max(lalm.heads.layer_indices(layers))
        self._known: dict[tuple[int, ...], PrefixCache | None] = {}

    def of(self, prepared: Mapping[str, torch.Tensor]) -> PrefixCache | None:
        """Return what the prompts of a batch begin with, run through the decoder now or remembered.

        Parameters
        ----------
        prepared : mapping
            From :meth:`calm.extract.InputBuilder.prepare`, padded on the right.

        Returns
        -------
        PrefixCache or None
            For :func:`calm.extract.record_heads`. None where there are too few, or the decoder cannot go on from there.
        """
        leading = shared_prefix_tokens(prepared, self._marks, self._tokens) if self._marks else ()
        if len(leading) < _MIN_PREFIX_TOKENS:
            return None
        if leading not in self._known:
            while len(self._known) >= _MAX_PREFIX_CACHES:
                self._known.pop(next(iter(self._known)))
            with self._lalm.heads.lock:  # threads take turns on one model
                self._known[leading] = compute_prefix_cache(self._lalm.model, self._lalm.heads, leading, self._last)
        return self._known[leading]


class PrefixUse:
    """Whether a forward pass left the shared tokens out."""

    skipped = 0  #: how many, once the decoder has begun


@contextlib.contextmanager
def use_prefix_cache(model: Any, prefix: PrefixCache | None) -> Iterator[PrefixUse]:
    """Let the decoder leave out the shared tokens, and attend to what was kept of them.

    A decoder that is given anything for every token that is not understood here, or other embeddings of the shared
    tokens, runs over all of them.
    """
    beginning, thread = PrefixUse(), threading.get_ident()
    if prefix is None:
        yield beginning
        return
    length = prefix.length

    def leave_out(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if threading.get_ident() != thread:
            return None  # another thread runs the model for itself
        given = {name: value for name, value in kwargs.items() if not (value is None or isinstance(value, bool))}
        mask = given.get("attention_mask")
        understood = not args and given.keys() <= _KNOWN and (mask is None or getattr(mask, "ndim", 0) == 2)
        if not understood or not prefix.verify(given):
            return None
        changed: dict[str, Any] = {"past_key_values": prefix.cache}
        for name in ("input_ids", "position_ids", "cache_position"):
            if name in given:
                changed[name] = given[name][..., length:]
        if "inputs_embeds" in given:
            changed["inputs_embeds"] = given["inputs_embeds"][:, length:]
        beginning.skipped = length
        return args, kwargs | changed

    hook = inner_decoder(model).register_forward_pre_hook(leave_out, with_kwargs=True)
    try:
        yield beginning
    finally:
        hook.remove()
