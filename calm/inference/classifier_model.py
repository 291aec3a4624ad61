"""Run the model of a fitted classifier on clips, in the same way as on its support set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import HeadClassifier
from calm.extract import (
    Clip,
    Extraction,
    Placement,
    Prompt,
    Request,
    check_compatible,
    collect_results,
    compute_fingerprint,
    head_vectors,
    with_progress,
)
from calm.extract.failures import describe_failures
from calm.options import build_group, option_values

if TYPE_CHECKING:
    from calm.extract import LALM


@dataclass(frozen=True)
class ProcessedClips:
    """What was computed from the head vectors of some clips."""

    clips: tuple[Clip, ...]  #: those that did not fail
    values: NDArray[Any] | None  #: one row for each of them; None if all failed
    notes: tuple[tuple[str, ...], ...]  #: what is unusual about each of them, such as that it was cut
    failures: dict[str, str]  #: reason of each failure by name of the clip


def process_clips(
    classifier: HeadClassifier,
    clips: Sequence[Clip],
    convert: Callable[[NDArray[np.float32]], NDArray[Any]],
    *,
    model: str | None,
    lalm: LALM | None,
    batch_size: int | None,
    progress: bool,
    placement: dict[str, Any],
) -> ProcessedClips:
    """Extract head vectors of clips as for the support set of a classifier, and convert each batch of them.

    Parameters
    ----------
    convert : callable
        Function from head vectors of shape (n_batch, n_layers, n_heads, head_dim) to an array with one row per clip.
        Layers that the classifier does not use are zero.

    Other parameters are those of :func:`calm.predict_audio`, which also describes the errors.
    """
    check_is_fitted(classifier)
    extraction = classifier.extraction_
    if extraction is None:
        raise ValueError(
            "this classifier was fitted on plain arrays, so its model is unknown: fit it on a head cache, or on the "
            "output of HeadExtractor"
        )
    request, lalm = _resolve_model(extraction, model, lalm, placement)
    _check_heads(classifier, lalm)
    layers, n_layers = classifier.used_layers_, lalm.heads.shape[0]
    labels = [str(label) for label in classifier.classes_]
    texts = [_prompt_text(clip, extraction.text, request.prompt, labels) for clip in clips]
    batches = head_vectors(
        lalm,
        clips,
        texts,
        media_options=request.media_options,
        tokens=request.tokens,
        max_seconds=request.max_seconds,
        layers=None if layers is None else layers.tolist(),
        batch_size=batch_size,
    )
    results = collect_results(
        with_progress(batches, lalm, len(clips), shown=progress),
        lambda vectors: convert(_expand_layers(vectors, layers, n_layers)),
    )
    return ProcessedClips(
        clips=tuple(clips[row] for row in results.rows),
        values=results.values,
        notes=results.describe(extraction.fingerprint.max_seconds),
        failures=describe_failures(results.failures, clips, texts),
    )


def _resolve_model(
    extraction: Extraction, model: str | None, lalm: LALM | None, placement: dict[str, Any]
) -> tuple[Request, LALM]:
    """Load the model of an extraction, or check the given one; return it with the request that describes it."""
    place = build_group(Placement, placement)
    if lalm is not None and (placement or model is not None):
        raise TypeError("give either lalm, or model and placement options, not both")
    moved = {} if model is None else {"model": model, "revision": None}
    request = extraction.request.changed(**moved, **option_values(place))
    if lalm is None:
        lalm = request.load()
    else:
        request = request.changed(model=lalm.name, revision=None, dtype=None, quantize=lalm.quantize)
    check_compatible(
        extraction.fingerprint, compute_fingerprint(lalm, request), "this classifier", f"model {lalm.name!r}"
    )
    return request, lalm


def _check_heads(classifier: HeadClassifier, lalm: LALM) -> None:
    """Check that the classifier was fitted on as many layers and heads, of the same dimension, as the model has."""
    n_layers, heads_per_layer, head_dim = lalm.heads.shape
    n_heads = n_layers * heads_per_layer
    fitted = (classifier.layers_ or n_layers, classifier.n_heads_in_, classifier.dim_)
    if fitted != (n_layers, n_heads, head_dim):
        raise ValueError(
            f"this classifier is damaged: it was fitted on {fitted[0]} layers with {fitted[1]} heads of dimension "
            f"{fitted[2]}, but the model has {n_layers} layers with {n_heads} heads of dimension {head_dim}"
        )


def _expand_layers(
    vectors: NDArray[np.float32], layers: NDArray[np.int64] | None, n_layers: int
) -> NDArray[np.float32]:
    """Put the vectors of some layers into an array of all layers. The others stay zero: the classifier ignores them."""
    if layers is None or len(layers) == n_layers:
        return vectors
    expanded = np.zeros((len(vectors), n_layers, *vectors.shape[2:]), dtype=vectors.dtype)
    expanded[:, layers] = vectors
    return expanded


def _prompt_text(clip: Clip, support_text: str | None, prompt: Prompt, labels: Sequence[str]) -> str:
    """Return the prompt text of a clip: that of the support clips, unless the clip has its own question or options."""
    if clip.question is not None or clip.options is not None:
        return prompt.text(clip.question, clip.options or labels)
    if support_text is None:
        raise ValueError(
            f"the support clips have different questions, and {clip.name} has none: give each clip its question in a "
            f"manifest"
        )
    return support_text
