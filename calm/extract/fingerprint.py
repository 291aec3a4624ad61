"""Whether head vectors were made in the same way: the one place where that is asked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from calm.extract.models.placement import LoadOptions
from calm.extract.request import Request
from calm.options import options_of

if TYPE_CHECKING:
    from calm.extract.models.lalm import LALM

#: Options of a request that only the loaded model tells the same: names may differ, and defaults be the model's own.
TOLD_BY_THE_MODEL = ("model", "revision", "dtype", "max_seconds")


@dataclass(frozen=True)
class Fingerprint:
    """All that changes a head vector, as found out when the model was loaded.

    Vectors of different fingerprints must not be mixed: not in one cache, nor in fitting and predicting.
    """

    weights: str  #: digest of the model's weights
    processor: str  #: digest of how the processor turns sound and text into inputs
    dtype: str  #: of the computation
    prompt: str  #: rendered, with the model's chat template
    tokens: int  #: how many last tokens are averaged
    sampling_rate: int  #: Hz
    max_seconds: float  #: clips were cut there; infinity for no limit
    modality: str = "audio"  #: what of them went in
    fps: float = 0.0  #: frames of each second; 0 without pictures
    max_pixels: int = 0  #: of a frame; 0 without pictures
    quantize: str = ""  #: weights of linear layers in fewer bits; empty for those of the checkpoint
    layers: str = ""  #: numbers of the decoder's layers with attention, where others have none; empty for all

    def __post_init__(self) -> None:
        if not self.max_seconds > 0 or self.tokens < 1 or self.sampling_rate < 1:
            raise ValueError("a fingerprint's seconds, tokens and rate are above 0")

    def layer_number(self, layer: int) -> int:
        """Return which layer of the decoder a layer of head vectors is; not the same for hybrids."""
        return int(self.layers.split()[layer]) if self.layers else layer


@dataclass(frozen=True)
class Extraction:
    """How the head vectors that a classifier was fitted on were made: enough to make more of them."""

    request: Request
    fingerprint: Fingerprint
    text: str | None  #: what the model was asked beside every clip; None where that differed


def resolve_request(request: Request, commit: str | None, dtype: str) -> Request:
    """Return a request that asks for just the checkpoint and the precision that it came to.

    Parameters
    ----------
    request : Request
    commit : str or None
        Of the checkpoint; None where it has none.
    dtype : str
        Of the computation. One that cannot be asked for is left to the model.
    """
    precision = dtype if dtype in (options_of(LoadOptions)["dtype"].choices or ()) else None
    return request.changed(revision=commit or request.revision, dtype=precision)


def compute_fingerprint(lalm: LALM, request: Request) -> Fingerprint:
    """Find out all that changes a head vector, now that the model is there.

    Raises
    ------
    ValueError
        If the request names another model than this, or asks that it be loaded otherwise.
    """
    _check_is_of(request, lalm)
    prompt, media_options, numbers = request.prompt, request.media_options, lalm.heads.layers
    limit = lalm.builder.limit_seconds(request.max_seconds, media_options)
    return Fingerprint(
        weights=lalm.weights_digest,
        processor=lalm.builder.digest(media_options),
        dtype=lalm.dtype,
        prompt=lalm.builder.chat(prompt.template.replace("{question}", prompt.question or ""), media_options),
        tokens=request.tokens,
        sampling_rate=lalm.builder.sampling_rate,
        max_seconds=math.inf if limit is None else limit,
        modality=media_options.modality,
        fps=media_options.frame_rate,
        max_pixels=media_options.frame_pixels,
        quantize=lalm.quantize or "",
        layers="" if numbers == tuple(range(len(numbers))) else " ".join(map(str, numbers)),
    )


def _check_is_of(request: Request, lalm: LALM) -> None:
    """Refuse a loaded model that is not the one that is asked for: the request is what gets recorded."""
    asked = (
        ("model", request.model, (lalm.name,)),
        ("revision", request.revision, (lalm.revision, lalm.commit)),
        ("dtype", request.dtype, (lalm.dtype,)),
        ("quantize", request.quantize or "", (lalm.quantize or "",)),
    )
    for name, wanted, there in asked:
        if wanted is not None and wanted not in there:
            raise ValueError(f"the request asks for {name} {wanted!r}, and the model that is loaded has {there[0]!r}")


def check_compatible(
    one: Request | Fingerprint | Extraction,
    other: Request | Fingerprint | Extraction,
    mine: str,
    theirs: str,
    *,
    leave_out: Collection[str] = (),
    remedy: str = "",
    **further: tuple[Any, Any],
) -> None:
    """Refuse to mix head vectors that were made in different ways.

    Parameters
    ----------
    one, other : Request, Fingerprint or Extraction
        Of one kind. An extraction has a fingerprint and what clips were asked.
    mine, theirs : str
        What to call each side.
    leave_out : collection of str, default=()
        What may differ.
    remedy : str, default=""
        What to do, put at the end.
    **further : pair
        More values to compare, by name.

    Raises
    ------
    ValueError
        Naming all that differs.
    """
    ours, others = _facts(one), _facts(other)
    pairs = {name: (ours[name], others[name]) for name in ours if name not in leave_out} | further
    different = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if "text" in different and None in different["text"]:
        del different["text"]  # some clips were asked otherwise: that is known, and allowed
    if "dtype" in different:
        different.pop("weights", None)  # in another precision, they are other bytes
    if not different:
        return
    told = "; ".join(f"{name} ({a!r} in {mine}, {b!r} in {theirs})" for name, (a, b) in different.items())
    if "weights" in different and any(_is_of_earlier_kind(digest) for digest in different["weights"]):
        remedy = ". A digest without a colon is of an earlier calm, which saw a part of the weights only: extract again"
    raise ValueError(f"head vectors of {mine} and {theirs} cannot be mixed: they differ in {told}{remedy}")


def _facts(what: Request | Fingerprint | Extraction) -> Mapping[str, Any]:
    if isinstance(what, Request):
        return what.options
    if isinstance(what, Extraction):
        return asdict(what.fingerprint) | {"text": what.text}
    return asdict(what)


def _is_of_earlier_kind(digest: str) -> bool:
    return ":" not in digest
