"""Predict from audio with a fitted classifier, which knows its model and prompt."""

from __future__ import annotations

from collections.abc import Sequence
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
from calm.options import build_group, document_options, option_values

if TYPE_CHECKING:
    from calm.extract import LALM


@dataclass(frozen=True)
class AudioPrediction:
    """Predicted class probabilities of clips.

    Attributes
    ----------
    clips : tuple of Clip
        The ``n_clips`` clips that did not fail.
    classes : ndarray of shape (n_classes,)
        Class labels.
    probabilities : ndarray of shape (n_clips, n_classes)
        Class probabilities, from ``predict_proba`` of the classifier.
    typicality : ndarray of shape (n_clips,) or None
        How typical of the known classes each clip is, between 0 and 1; see :meth:`calm.CALMClassifier.typicality`.
        None if the classifier cannot compute it.
    failures : dict of str to str
        Reason of each failure by name of the clip.

    See Also
    --------
    calm.predict_audio : Classify clips with a fitted classifier.

    Examples
    --------
    >>> prediction = AudioPrediction(
    ...     (Clip("a.wav", "a.wav"),), np.array(["dog", "rain"]), np.array([[0.2, 0.8]]), typicality=None, failures={}
    ... )
    >>> prediction.labels
    array(['rain'], dtype='<U4')
    """

    clips: tuple[Clip, ...]
    classes: NDArray[Any]
    probabilities: NDArray[np.float64]
    typicality: NDArray[np.float64] | None
    failures: dict[str, str]

    @property
    def labels(self) -> NDArray[Any]:
        """Most probable label of each clip, of shape (n_clips,)."""
        return self.classes[self.probabilities.argmax(axis=1)]


@document_options(Placement)
def predict_audio(
    classifier: HeadClassifier,
    clips: Sequence[Clip],
    *,
    model: str | None = None,
    lalm: LALM | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **placement: Any,
) -> AudioPrediction:
    """Classify clips with a fitted classifier and the model that extracted its support set.

    Head vectors are extracted as for the support set: with the same model, prompt, dtype and maximum clip length. The
    forward pass ends at the last layer that the classifier uses.

    Parameters
    ----------
    classifier : HeadClassifier
        Classifier that was fitted on a head cache, on rows of one, or on the output of :class:`calm.HeadExtractor`.
    clips : sequence of Clip
        Clips, from :func:`calm.find_clips`.
    model : str, default=None
        New name or folder of the model, if it has moved since the support set was extracted.
    lalm : LALM, default=None
        The model, if it is already loaded.
    batch_size : int, default=None
        Number of clips per forward pass; see :func:`calm.extract.head_vectors`.
    progress : bool, default=False
        Whether to show a progress bar if standard error is a terminal.
    {options}

    Returns
    -------
    AudioPrediction
        Class probabilities of the clips, and the reasons of failures.

    Raises
    ------
    ValueError
        If the classifier was fitted on plain arrays, or the model is not the one that extracted its support set; the
        message names the difference.
    TypeError
        If ``lalm`` is given together with ``model`` or an option of the placement.

    See Also
    --------
    calm.HeadExtractor : Extract head vectors as a step of a scikit-learn pipeline.
    calm.load : Load a fitted classifier.
    calm.zero_shot : Classify clips without a support set.

    Examples
    --------
    >>> from calm import CALMClassifier, HeadExtractor, find_clips
    >>> from calm.sounds import make_sounds
    >>> waves, labels = make_sounds(n_classes=2, n_per_class=3)
    >>> classifier = CALMClassifier().fit(HeadExtractor("tiny").transform(waves), labels)
    >>> predict_audio(classifier, find_clips(waves)).probabilities.shape
    (6, 2)
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
    labels = [str(label) for label in classifier.classes_]
    layers = classifier.used_layers_
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
    has_typicality = supports_rejection(classifier)
    n_layers = lalm.heads.shape[0]

    def predict(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return class probabilities, with the typicality as last column if the classifier can compute it."""
        X = _expand_layers(vectors, layers, n_layers)
        columns = [classifier.predict_proba(X)]
        return np.column_stack([*columns, classifier.typicality(X)] if has_typicality else columns)

    results = collect_results(with_progress(batches, lalm, len(clips), shown=progress), predict)
    scores = np.empty((0, len(labels) + has_typicality)) if results.values is None else results.values
    return AudioPrediction(
        clips=tuple(clips[row] for row in results.rows),
        classes=classifier.classes_,
        probabilities=scores[:, : len(labels)],
        typicality=scores[:, -1] if has_typicality else None,
        failures=describe_failures(results.failures, clips, texts),
    )


def supports_rejection(classifier: HeadClassifier) -> bool:
    """Return whether a fitted classifier can compute typicality: only CALM can, and only with held-out scores."""
    return len(getattr(classifier, "typical_scores_", ())) > 0


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
