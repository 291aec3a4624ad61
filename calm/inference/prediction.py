"""Predicting from audio: the fitted classifier knows which model to load and what to ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.base import HeadClassifier
from calm.extract import Clip, Prompt, fingerprint_of, head_vectors, progress_bar

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
    failures: dict[str, str]  #: why the other clips could not be read, by name

    @property
    def labels(self) -> NDArray[Any]:
        """The most probable label of each clip, (n,)."""
        return self.classes[self.probabilities.argmax(axis=1)]


def predict_audio(
    classifier: HeadClassifier,
    clips: Sequence[Clip],
    *,
    model: str | None = None,
    lalm: LALM | None = None,
    device: str | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
) -> AudioPrediction:
    """Classify clips with the model, prompt, dtype and window that the classifier's support set was extracted with.

    The forward pass ends at the last layer that the classifier uses.

    Parameters
    ----------
    classifier : HeadClassifier
        Fitted on (rows of) a head cache.
    clips : sequence of Clip
        From :func:`calm.find_clips`.
    model : str, optional
        Where the same model is found now, if no longer under the name that it had.
    lalm : LALM, optional
        The model, if it is loaded already.
    device, device_map, trust_remote_code
        See :func:`calm.extract.load_lalm`.
    batch_size : int, optional
        See :func:`calm.extract.head_vectors`.
    progress : bool
        Show a progress bar, where standard error is a terminal.

    Returns
    -------
    AudioPrediction

    Raises
    ------
    ValueError
        If the classifier was fitted on bare arrays, or the model is not the one that its head vectors came from; the
        message names what differs.
    """
    extraction = classifier.extraction_
    if extraction is None:
        raise ValueError("this classifier was fitted on arrays, so it cannot tell which model to extract with")
    request = extraction.request if model is None else replace(extraction.request, model=model, revision=None)
    if lalm is None:
        from calm.extract import load_lalm

        lalm = load_lalm(
            request.model,
            revision=request.revision,
            dtype=request.dtype,
            quantize=request.quantize,
            device=device,
            device_map=device_map,
            trust_remote_code=trust_remote_code,
        )
    extraction.fingerprint.check_same(fingerprint_of(lalm, request), "this classifier", f"model {lalm.name!r}")
    labels = [str(label) for label in classifier.classes_]
    probabilities, heard = [np.empty((0, len(labels)))], [np.empty(0, dtype=np.int64)]
    failures: dict[str, str] = {}
    typical: list[NDArray[np.float64]] | None = [] if len(getattr(classifier, "typical_scores_", ())) else None
    layers = classifier.used_layers_
    batches = head_vectors(
        lalm,
        clips,
        [_text(clip, extraction.text, request.prompt, labels) for clip in clips],
        senses=request.senses,
        tokens=request.tokens,
        max_seconds=request.max_seconds,
        layers=None if layers is None else layers.tolist(),
        batch_size=batch_size,
    )
    with progress_bar(lalm, len(clips), shown=progress) as bar:
        for batch in batches:
            if len(batch.rows):
                vectors = _in_all_layers(batch.vectors, layers, lalm.heads.shape[0])
                probabilities.append(classifier.predict_proba(vectors))
                if typical is not None:
                    typical.append(classifier.typicality(vectors))
            heard.append(batch.rows)
            failures |= {clips[row].name: failed.reason for row, failed in batch.failed.items()}
            bar.update(len(batch.rows) + len(batch.failed))
    rows = np.concatenate(heard)
    order = rows.argsort()
    return AudioPrediction(
        tuple(clips[row] for row in rows[order]),
        classifier.classes_,
        np.concatenate(probabilities)[order],
        None if typical is None else np.concatenate([np.empty(0), *typical])[order],
        failures,
    )


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
