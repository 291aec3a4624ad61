"""Finding the attention heads of a model's text decoder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

#: What the projection after attention is called in a decoder layer.
_OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj")

#: What a config calls layers without attention over the sequence, which hybrid decoders have among others.
_WITHOUT_ATTENTION = frozenset({"linear_attention", "conv", "mamba", "moe", "mlp"})


@dataclass(frozen=True)
class DecoderHeads:
    """Where the head vectors of a model come by."""

    projections: tuple[nn.Module, ...]  #: attention output projection of each decoder layer with attention, in order
    sizes: tuple[tuple[int, int], ...]  #: query heads of each of these layers, and their dimension
    layers: tuple[int, ...]  #: which of the decoder's layers these are: all, but for hybrids (Mamba and attention)
    lock: Any = field(default_factory=threading.RLock, repr=False, compare=False)  #: held while the model is recorded

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(layers, heads, dim)``, the largest of any layer; vectors of others are filled up with zeros."""
        return len(self.projections), max(heads for heads, _ in self.sizes), max(dim for _, dim in self.sizes)

    def layer_indices(self, layers: Sequence[int] | None) -> list[int]:
        """Return the layers that are asked for, by their places among :attr:`projections`; all unless given.

        Raises
        ------
        ValueError
            If none is asked for, or one that is not there.
        """
        there = range(len(self.projections))
        wanted = list(there) if layers is None else [int(layer) for layer in layers]
        if not wanted or not set(wanted) <= set(there):
            raise ValueError(f"layers must be some of 0 … {there[-1]}, got {wanted}")
        return wanted


def find_heads(model: Any) -> DecoderHeads:
    """Discover the layers of a model's text decoder and their output projections.

    Nothing is looked up by the name of the model: ``model.get_decoder()`` gives the decoder, and
    ``config.get_text_config(decoder=True)`` its number of query heads. Audio and vision towers, adapters and speech
    output are outside the decoder's layers and so are never taken. Of a hybrid, only the layers with attention have
    heads: ``layer_types`` of the config tells which. Layers may differ in the number of their heads and in their
    dimension, which is ``in_features / n_heads`` of the projection and need not be ``hidden_size / n_heads``.

    Parameters
    ----------
    model : transformers.PreTrainedModel

    Returns
    -------
    DecoderHeads

    Raises
    ------
    ValueError
        If the decoder cannot be understood; the message says what was looked for and what was there.
    """
    name = type(model).__name__
    decoder = inner_decoder(model)
    layers = getattr(decoder, "layers", None)
    if layers is None or len(layers) == 0:
        children = ", ".join(child for child, _ in decoder.named_children()) or "nothing"
        raise ValueError(
            f"cannot find the attention heads of {name}: its decoder ({type(decoder).__name__}) has no `layers`; "
            f"it holds {children}"
        )
    config = model.config.get_text_config(decoder=True)
    kinds = getattr(config, "layer_types", None) or []
    numbers = tuple(i for i in range(len(layers)) if i >= len(kinds) or kinds[i] not in _WITHOUT_ATTENTION)
    if not numbers:
        raise ValueError(f"cannot find the attention heads of {name}: none of its decoder's layers has attention")
    found = [_attention(layers[i], f"{name}, decoder layer {i}") for i in numbers]
    sizes = tuple(_size(*pair, config, i, name) for i, pair in zip(numbers, found, strict=True))
    return DecoderHeads(tuple(projection for _, projection in found), sizes, numbers)


def inner_decoder(model: Any) -> Any:
    """Return the innermost decoder: some models name a whole causal language model, head and all, as theirs."""
    decoder = model.get_decoder()
    while not hasattr(decoder, "layers") and hasattr(decoder, "get_decoder"):
        inner = decoder.get_decoder()
        if inner is decoder:
            break
        decoder = inner
    return decoder


def _attention(layer: nn.Module, where: str) -> tuple[nn.Module, Any]:
    """Return the attention of a decoder layer, and its output projection."""
    for name, child in layer.named_children():
        called = f"{name} {type(child).__name__}".lower()
        if "attn" not in called and "attention" not in called:
            continue
        for projection in (getattr(child, name, None) for name in _OUTPUT_PROJECTIONS):
            if projection is not None and hasattr(projection, "weight"):
                return child, projection
    there = ", ".join(f"{name} ({type(child).__name__})" for name, child in layer.named_children())
    raise ValueError(
        f"{where}: no attention with one of {', '.join(_OUTPUT_PROJECTIONS)}, whose input head vectors are; "
        f"it holds {there}"
    )


def _size(attention: nn.Module, projection: Any, config: Any, layer: int, name: str) -> tuple[int, int]:
    """Return the number of query heads of one layer, and their dimension."""
    own = config.per_layer_config[layer] if getattr(config, "is_heterogeneous", False) else config
    n_heads = getattr(attention, "num_heads", None) or getattr(own, "num_attention_heads", None)
    if not isinstance(n_heads, int):
        raise ValueError(f"cannot find the attention heads of {name}: its text config has no `num_attention_heads`")
    # quantized layers keep their input width as an attribute only
    width = int(getattr(projection, "in_features", None) or projection.weight.shape[-1])
    if width % n_heads:
        raise ValueError(f"{name}: an output projection with {width} inputs does not split into {n_heads} heads")
    return n_heads, width // n_heads
