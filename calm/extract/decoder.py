"""Finding the attention heads of a model's text decoder."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

#: What the projection after attention is called in a decoder layer.
_OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj")


@dataclass(frozen=True)
class DecoderHeads:
    """Where the head vectors of a model come by."""

    projections: tuple[nn.Module, ...]  #: attention output projection of each decoder layer, in order
    n_heads: int  #: query heads per layer
    head_dim: int  #: ``in_features / n_heads``, which need not be ``hidden_size / n_heads``
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)  #: held by a recording

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(layers, heads, dim)``."""
        return len(self.projections), self.n_heads, self.head_dim


def find_heads(model: Any) -> DecoderHeads:
    """Discover the layers of a model's text decoder and their output projections.

    Nothing is looked up by the name of the model: ``model.get_decoder()`` gives the decoder, and
    ``config.get_text_config(decoder=True)`` its number of query heads. Audio and vision towers, adapters and speech
    output are outside the decoder's layers and so are never taken.

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
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None)
    if layers is None or len(layers) == 0:
        children = ", ".join(child for child, _ in decoder.named_children()) or "nothing"
        raise ValueError(
            f"cannot find the attention heads of {name}: its decoder ({type(decoder).__name__}) has no `layers`; "
            f"it holds {children}"
        )
    n_heads = getattr(model.config.get_text_config(decoder=True), "num_attention_heads", None)
    if not isinstance(n_heads, int):
        raise ValueError(f"cannot find the attention heads of {name}: its text config has no `num_attention_heads`")
    projections = tuple(_output_projection(layer, f"{name}, decoder layer {i}") for i, layer in enumerate(layers))
    widths = [_in_features(projection) for projection in projections]
    if len(set(widths)) > 1:
        raise ValueError(f"{name}: head vectors differ in size between layers (inputs of the projection: {widths})")
    if widths[0] % n_heads:
        raise ValueError(f"{name}: an output projection with {widths[0]} inputs does not split into {n_heads} heads")
    return DecoderHeads(projections, n_heads, widths[0] // n_heads)


def _output_projection(layer: nn.Module, where: str) -> nn.Module:
    attention = [(name, child) for name, child in layer.named_children() if "attn" in name or "attention" in name]
    for _, child in attention:
        for name in _OUTPUT_PROJECTIONS:
            projection = getattr(child, name, None)
            if projection is not None and hasattr(projection, "weight"):
                return projection
    there = ", ".join(f"{name} ({type(child).__name__})" for name, child in layer.named_children())
    raise ValueError(
        f"{where}: no attention with one of {', '.join(_OUTPUT_PROJECTIONS)}, whose input head vectors are; "
        f"it holds {there}"
    )


def _in_features(projection: Any) -> int:
    """Return the input width, which quantised layers keep as an attribute only."""
    return int(getattr(projection, "in_features", None) or projection.weight.shape[-1])
