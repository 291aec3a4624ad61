"""Fingerprints: how head vectors were extracted, and whether two sets of them may be mixed."""

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

#: Options of a request that are compared only after the model is loaded: one model may have several names, and some
#: defaults depend on the model.
MODEL_DEPENDENT_OPTIONS = ("model", "revision", "dtype", "max_seconds")


@dataclass(frozen=True)
class Fingerprint:
    """Everything that determines head vectors, known once the model is loaded.

    Head vectors with different fingerprints must not be mixed: neither in one cache, nor between fitting and
    prediction.

    Parameters
    ----------
    weights : str
        Digest of the model's weights.
    processor : str
        Digest of the processor's settings.
    dtype : str
        Dtype of the computation.
    prompt : str
        Prompt template in the chat template of the model.
    tokens : int
        Number of tokens at the end of the prompt over which head vectors are averaged.
    sampling_rate : int
        Sampling rate of the model's input in Hz.
    max_seconds : float
        Maximum clip length in seconds; infinity means no limit.
    modality : {'audio', 'visual', 'audio-visual'}, default='audio'
        Media that the model gets.
    fps : float, default=0.0
        Video frames per second; 0 without video.
    max_pixels : int, default=0
        Maximum number of pixels of a video frame; 0 without video.
    quantize : str, default=""
        Quantization of the linear layers' weights. Empty means none.
    layers : str, default=""
        Indices of the decoder layers that have attention, separated by spaces. Empty means that all have.

    Raises
    ------
    ValueError
        If ``max_seconds``, ``tokens`` or ``sampling_rate`` is not above 0.

    See Also
    --------
    calm.extract.compute_fingerprint : Compute the fingerprint of a request and its loaded model.
    calm.extract.check_compatible : Check that head vectors may be mixed.

    Examples
    --------
    >>> Fingerprint("abc", "def", "float32", "What is it?", 1, 16000, 30.0, layers="3 7 11").layer_number(1)
    7
    """

    weights: str
    processor: str
    dtype: str
    prompt: str
    tokens: int
    sampling_rate: int
    max_seconds: float
    modality: str = "audio"
    fps: float = 0.0
    max_pixels: int = 0
    quantize: str = ""
    layers: str = ""

    def __post_init__(self) -> None:
        if not self.max_seconds > 0 or self.tokens < 1 or self.sampling_rate < 1:
            raise ValueError("max_seconds, tokens and sampling_rate of a fingerprint must be above 0")

    def layer_number(self, layer: int) -> int:
        """Return the index of the decoder layer that layer ``layer`` of the head vectors belongs to.

        The two differ for hybrid models, in which some decoder layers have no attention.
        """
        return int(self.layers.split()[layer]) if self.layers else layer


@dataclass(frozen=True)
class Extraction:
    """How head vectors were extracted: everything needed to extract more of them in the same way.

    Parameters
    ----------
    request : Request
        Model, prompt and media options.
    fingerprint : Fingerprint
        Everything that determines the head vectors.
    text : str or None
        Prompt text of all clips; None if clips have different prompt texts.

    See Also
    --------
    calm.extract.HeadArray : Head vectors in memory, with their extraction.
    calm.extract.HeadRows : Rows of a head cache, with their extraction.

    Examples
    --------
    >>> import numpy as np
    >>> from calm import HeadExtractor
    >>> HeadExtractor("tiny", sampling_rate=16000).transform([np.zeros(16000)]).extraction.text
    'What is the sound in this audio clip?'
    """

    request: Request
    fingerprint: Fingerprint
    text: str | None


def resolve_request(request: Request, commit: str | None, dtype: str) -> Request:
    """Return the request with the commit and the dtype that were actually used.

    Parameters
    ----------
    request : Request
        The request, perhaps without revision and dtype.
    commit : str or None
        Commit of the checkpoint; None if it has none.
    dtype : str
        Dtype of the computation. One that the option ``dtype`` does not allow is left to the model.

    Returns
    -------
    Request
        A request that loads the same checkpoint in the same precision.

    See Also
    --------
    calm.extract.compute_fingerprint : Compute the fingerprint of a request and its loaded model.

    Examples
    --------
    >>> resolve_request(Request("qwen2-audio"), "0a095220c30b7b31434169c3086508ef3ea5bf0a", "bfloat16").dtype
    'bfloat16'
    """
    allowed = options_of(LoadOptions)["dtype"].choices or ()
    return request.changed(revision=commit or request.revision, dtype=dtype if dtype in allowed else None)


def compute_fingerprint(lalm: LALM, request: Request) -> Fingerprint:
    """Compute the fingerprint of a request and its loaded model.

    Parameters
    ----------
    lalm : LALM
        The model that ``request`` names, loaded.
    request : Request
        Model, prompt and media options.

    Returns
    -------
    Fingerprint
        Everything that determines the head vectors.

    Raises
    ------
    ValueError
        If the request asks for another model, revision, dtype or quantization than ``lalm`` has.

    See Also
    --------
    calm.extract.check_compatible : Check that head vectors may be mixed.

    Examples
    --------
    >>> from calm import load_lalm
    >>> fingerprint = compute_fingerprint(load_lalm("tiny"), Request("tiny", tokens=4))
    >>> fingerprint.tokens, fingerprint.sampling_rate, fingerprint.max_seconds
    (4, 16000, 5.0)
    """
    _check_same_model(request, lalm)
    prompt, media_options, layers = request.prompt, request.media_options, lalm.heads.layers
    max_seconds = lalm.builder.limit_seconds(request.max_seconds, media_options)
    return Fingerprint(
        weights=lalm.weights_digest,
        processor=lalm.builder.digest(media_options),
        dtype=lalm.dtype,
        prompt=lalm.builder.chat(prompt.template.replace("{question}", prompt.question or ""), media_options),
        tokens=request.tokens,
        sampling_rate=lalm.builder.sampling_rate,
        max_seconds=math.inf if max_seconds is None else max_seconds,
        modality=media_options.modality,
        fps=media_options.frame_rate,
        max_pixels=media_options.frame_pixels,
        quantize=lalm.quantize or "",
        layers="" if layers == tuple(range(len(layers))) else " ".join(map(str, layers)),
    )


def _check_same_model(request: Request, lalm: LALM) -> None:
    """Check that the loaded model is the requested one, because the request is what gets stored."""
    comparisons = (
        ("model", request.model, (lalm.name,)),
        ("revision", request.revision, (lalm.revision, lalm.commit)),
        ("dtype", request.dtype, (lalm.dtype,)),
        ("quantize", request.quantize or "", (lalm.quantize or "",)),
    )
    for name, requested, loaded in comparisons:
        if requested is not None and requested not in loaded:
            raise ValueError(f"the request asks for {name} {requested!r}, but the loaded model has {loaded[0]!r}")


def check_compatible(
    one: Request | Fingerprint | Extraction,
    other: Request | Fingerprint | Extraction,
    one_name: str,
    other_name: str,
    *,
    leave_out: Collection[str] = (),
    remedy: str = "",
    **extra: tuple[Any, Any],
) -> None:
    """Check that head vectors may be mixed, because they were extracted in the same way.

    Parameters
    ----------
    one, other : Request, Fingerprint or Extraction
        The two extractions, both as the same type. Of an :class:`Extraction`, the fingerprint and the text are
        compared. A text of None is compatible with any text.
    one_name, other_name : str
        Their names in the error message.
    leave_out : collection of str, default=()
        Names of values that may differ.
    remedy : str, default=""
        Advice at the end of the error message.
    **extra : tuple of two objects
        More pairs of values to compare, by name.

    Raises
    ------
    ValueError
        If a value differs. The message names all that differ.

    See Also
    --------
    calm.extract.compute_fingerprint : Compute the fingerprint of a request and its loaded model.

    Examples
    --------
    >>> check_compatible(Request("tiny"), Request("tiny", tokens=4), "heads.h5", "this run")
    Traceback (most recent call last):
    ValueError: head vectors of heads.h5 and this run cannot be mixed: they differ in tokens (1 in heads.h5, 4 in ...)
    """
    values, other_values = _comparable_values(one), _comparable_values(other)
    pairs = {name: (values[name], other_values[name]) for name in values if name not in leave_out} | extra
    different = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if "text" in different and None in different["text"]:
        del different["text"]  # one side has clips with different prompts: those may be mixed
    if "dtype" in different:
        different.pop("weights", None)  # their bytes depend on the dtype
    if not different:
        return
    listed = "; ".join(f"{name} ({a!r} in {one_name}, {b!r} in {other_name})" for name, (a, b) in different.items())
    if "weights" in different and any(_is_partial_digest(digest) for digest in different["weights"]):
        remedy = ". A digest without a colon, of an earlier calm, covers only part of the weights: extract again"
    raise ValueError(f"head vectors of {one_name} and {other_name} cannot be mixed: they differ in {listed}{remedy}")


def _comparable_values(extraction: Request | Fingerprint | Extraction) -> Mapping[str, Any]:
    """Return the values to compare, by name."""
    if isinstance(extraction, Request):
        return extraction.options
    if isinstance(extraction, Extraction):
        return asdict(extraction.fingerprint) | {"text": extraction.text}
    return asdict(extraction)


def _is_partial_digest(digest: str) -> bool:
    """Return whether an earlier version of calm computed the digest, from a part of the weights only."""
    return ":" not in digest
