"""Predicting from audio: the fitted classifier knows which model to load and what to ask it."""

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
    Placement,
    Prompt,
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
    """What a classifier says of some clips."""

    clips: tuple[Clip, ...]  #: those that could be read, n of them
    classes: NDArray[Any]  #: labels, (C,)
    probabilities: NDArray[np.float64]  #: as ``predict_proba`` gives them, (n, C)
    #: How typical of the known classes each clip is, (n,); see :meth:`calm.CALMClassifier.typicality`. None where the
    #: classifier cannot tell.
    typicality: NDArray[np.float64] | None
    failures: dict[str, str]  #: why the other clips failed, by name

    @property
    def labels(self) -> NDArray[Any]:
        """The most probable label of each clip, (n,)."""
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
    """Classify clips with the model, prompt, dtype and window that the classifier's support set was extracted with.

    The forward pass ends at the last layer that the classifier uses.

    Parameters
    ----------
    classifier : HeadClassifier
        Fitted on (rows of) a head cache, or on what :class:`calm.HeadExtractor` gives.
    clips : sequence of Clip
        From :func:`calm.find_clips`.
    model : str, default=None
        Where the same model is found now, if no longer under the name that it had.
    lalm : LALM, default=None
        The model, if it is loaded already.
    batch_size : int, default=None
        See :func:`calm.extract.head_vectors`.
    progress : bool, default=False
        Show a progress bar, where standard error is a terminal.
    {options}

    Returns
    -------
    AudioPrediction

    Raises
    ------
    ValueError
        If the classifier was fitted on bare arrays, or the model is not the one that its head vectors came from; the
        message names what differs.
    """
    check_is_fitted(classifier)
    extraction = classifier.extraction_
    if extraction is None:
        raise ValueError("this classifier was fitted on arrays, so it cannot tell which model to extract with")
    placed = build_group(Placement, placement)
    if lalm is not None and (placement or model is not None):
        raise TypeError("give a loaded model, or say which to load and where, not both")
    moved = {} if model is None else {"model": model, "revision": None}
    request = extraction.request.changed(**moved, **option_values(placed))
    if lalm is None:
        lalm = request.load()
    else:
        request = request.changed(model=lalm.name, revision=None, dtype=None, quantize=lalm.quantize)
    check_compatible(
        extraction.fingerprint, compute_fingerprint(lalm, request), "this classifier", f"model {lalm.name!r}"
    )
    layers_there, heads_there, dim_there = lalm.heads.shape
    fitted_on = (classifier.layers_ or layers_there, classifier.n_heads_in_, classifier.dim_)
    if fitted_on != (layers_there, layers_there * heads_there, dim_there):
        raise ValueError(
            f"this classifier is damaged: it was fitted on {fitted_on[0]} layers with {fitted_on[1]} heads of "
            f"{fitted_on[2]} in all, and the model has {layers_there} with {layers_there * heads_there} of {dim_there}"
        )
    labels = [str(label) for label in classifier.classes_]
    layers = classifier.used_layers_
    texts = [_text(clip, extraction.text, request.prompt, labels) for clip in clips]
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
    with_typicality = supports_rejection(classifier)

    def judge(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return probabilities, and typicality in a last column where it can be told."""
        whole = _in_all_layers(vectors, layers, lalm.heads.shape[0])
        told = [classifier.predict_proba(whole)]
        return np.column_stack([*told, classifier.typicality(whole)] if with_typicality else told)

    found = collect_results(with_progress(batches, lalm, len(clips), shown=progress), judge)
    judged = np.empty((0, len(labels) + with_typicality)) if found.values is None else found.values
    return AudioPrediction(
        clips=tuple(clips[row] for row in found.rows),
        classes=classifier.classes_,
        probabilities=judged[:, : len(labels)],
        typicality=judged[:, -1] if with_typicality else None,
        failures=describe_failures(found.failures, clips, texts),
    )


def supports_rejection(classifier: HeadClassifier) -> bool:
    """Tell whether a fitted classifier can say how typical clips are: only CALM, and only where it held clips out."""
    return len(getattr(classifier, "typical_scores_", ())) > 0


def _in_all_layers(
    vectors: NDArray[np.float32], layers: NDArray[np.int64] | None, n_layers: int
) -> NDArray[np.float32]:
    """Put vectors of some layers where the classifier looks for them; it looks nowhere else."""
    if layers is None or len(layers) == n_layers:
        return vectors
    whole = np.zeros((len(vectors), n_layers, *vectors.shape[2:]), dtype=vectors.dtype)
    whole[:, layers] = vectors
    return whole


def _text(clip: Clip, asked: str | None, prompt: Prompt, labels: Sequence[str]) -> str:
    """Ask what the support clips were asked, unless the clip comes with a question of its own."""
    if clip.question is not None or clip.options is not None:
        return prompt.text(clip.question, clip.options or labels)
    if asked is None:
        raise ValueError(
            f"the support clips were asked different questions, and {clip.name} has none: list the clips with their "
            f"questions in a manifest"
        )
    return asked
