"""Search for the attention heads in a model's text decoder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

#: Names of the output projection of an attention module.
_OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj")

#: Entries of ``layer_types`` in the config of a hybrid decoder that mean a layer without attention.
_WITHOUT_ATTENTION = frozenset({"linear_attention", "conv", "mamba", "moe", "mlp"})


@dataclass(frozen=True)
class DecoderHeads:
    """Attention heads of a model's text decoder, layer by layer.

    Parameters
    ----------
    projections : tuple of torch.nn.Module
        Attention output projection (``o_proj``) of each decoder layer with attention, in order. Its input is the head
        vectors of the layer.
    sizes : tuple of (int, int)
        Number of query heads and head dimension of each of these layers.
    layers : tuple of int
        Index of each of these layers in the decoder. Only hybrid decoders (such as Mamba with attention) skip indices.
    lock : threading.RLock
        Lock that a thread holds while it records the model.

    See Also
    --------
    calm.extract.find_heads : Find the attention heads of a model.
    calm.extract.HeadRecorder : Record the vectors of these heads.

    Examples
    --------
    >>> from calm.extract import load_lalm
    >>> heads = load_lalm("tiny").heads
    >>> heads.shape, heads.layers
    ((6, 8, 32), (0, 1, 2, 3, 4, 5))
    """

    projections: tuple[nn.Module, ...]
    sizes: tuple[tuple[int, int], ...]
    layers: tuple[int, ...]
    lock: Any = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n_layers, n_heads, head_dim)``, with the maximum over layers; smaller layers are padded with zeros."""
        return len(self.projections), max(heads for heads, _ in self.sizes), max(dim for _, dim in self.sizes)

    def layer_indices(self, layers: Sequence[int] | None) -> list[int]:
        """Validate layer indices into ``projections``.

        Parameters
        ----------
        layers : sequence of int or None
            Requested layers. None means all layers.

        Returns
        -------
        list of int
            The requested layers, in the given order.

        Raises
        ------
        ValueError
            If ``layers`` is empty or names a layer that does not exist.
        """
        existing = range(len(self.projections))
        requested = list(existing) if layers is None else [int(layer) for layer in layers]
        if not requested or not set(requested) <= set(existing):
            raise ValueError(f"layers must be one or more of 0 … {existing[-1]}, got {requested}")
        return requested


def find_heads(model: Any) -> DecoderHeads:
    """Find the attention heads of a model's text decoder.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Model with a text decoder.

    Returns
    -------
    DecoderHeads
        Output projections and sizes of the decoder layers with attention.

    Raises
    ------
    ValueError
        If the decoder has an unknown structure. The message names what was expected and what was found.

    See Also
    --------
    calm.extract.record_heads : Record the vectors of these heads in a forward pass.
    calm.extract.load_lalm : Load a model, whose ``heads`` are found by this function.

    Notes
    -----
    The search does not depend on the name of the model. ``model.get_decoder()`` returns the decoder, and
    ``model.config.get_text_config(decoder=True)`` its number of query heads. Audio and vision encoders, adapters and
    speech output are outside the decoder's layers and are never included.

    For a hybrid decoder, ``layer_types`` of the config determines the layers with attention. Layers may differ in
    their number of heads and in head dimension. The head dimension is ``in_features / n_heads`` of the projection,
    which may differ from ``hidden_size / n_heads``.

    Examples
    --------
    >>> from calm.extract import load_lalm
    >>> find_heads(load_lalm("tiny").model).sizes[0]
    (8, 32)
    """
    name = type(model).__name__
    decoder = inner_decoder(model)
    layers = getattr(decoder, "layers", None)
    if layers is None or len(layers) == 0:
        children = ", ".join(child for child, _ in decoder.named_children()) or "nothing"
        raise ValueError(
            f"cannot find the attention heads of {name}: its decoder ({type(decoder).__name__}) has no `layers`; "
            f"it contains {children}"
        )
    config = model.config.get_text_config(decoder=True)
    types = getattr(config, "layer_types", None) or []
    indices = tuple(i for i in range(len(layers)) if i >= len(types) or types[i] not in _WITHOUT_ATTENTION)
    if not indices:
        raise ValueError(f"cannot find the attention heads of {name}: none of its decoder layers has attention")
    pairs = [_find_attention(layers[i], f"{name}, decoder layer {i}") for i in indices]
    sizes = tuple(_head_size(*pair, config, i, name) for i, pair in zip(indices, pairs, strict=True))
    return DecoderHeads(tuple(projection for _, projection in pairs), sizes, indices)


def inner_decoder(model: Any) -> Any:
    """Return the innermost decoder: some models return a causal language model with its head as their decoder."""
    decoder = model.get_decoder()
    while not hasattr(decoder, "layers") and hasattr(decoder, "get_decoder"):
        inner = decoder.get_decoder()
        if inner is decoder:
            break
        decoder = inner
    return decoder


def _find_attention(layer: nn.Module, where: str) -> tuple[nn.Module, Any]:
    """Return the attention module of a decoder layer and its output projection."""
    for name, child in layer.named_children():
        name_and_class = f"{name} {type(child).__name__}".lower()
        if "attn" not in name_and_class and "attention" not in name_and_class:
            continue
        for projection in (getattr(child, name, None) for name in _OUTPUT_PROJECTIONS):
            if projection is not None and hasattr(projection, "weight"):
                return child, projection
    children = ", ".join(f"{name} ({type(child).__name__})" for name, child in layer.named_children())
    raise ValueError(
        f"{where}: no attention module with an output projection named {', '.join(_OUTPUT_PROJECTIONS)}; "
        f"it contains {children}"
    )


def _head_size(attention: nn.Module, projection: Any, config: Any, layer: int, name: str) -> tuple[int, int]:
    """Return the number of query heads of one layer and the head dimension."""
    layer_config = config.per_layer_config[layer] if getattr(config, "is_heterogeneous", False) else config
    n_heads = getattr(attention, "num_heads", None) or getattr(layer_config, "num_attention_heads", None)
    if not isinstance(n_heads, int):
        raise ValueError(f"cannot find the attention heads of {name}: its text config has no `num_attention_heads`")
    # The weight of a quantized layer has another shape: only the attribute holds its input width.
    width = int(getattr(projection, "in_features", None) or projection.weight.shape[-1])
    if width % n_heads:
        raise ValueError(f"{name}: an output projection with {width} inputs does not split into {n_heads} heads")
    return n_heads, width // n_heads
