"""Predict from audio with a fitted classifier, which knows its model and prompt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.base import HeadClassifier
from calm.classifiers.typicality import supports_rejection
from calm.extract import Clip, Placement, find_clips
from calm.inference.classifier_model import process_clips
from calm.options import document_options

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
    notes : tuple of tuple of str
        What is unusual about the audio of each clip, usually nothing: that only its beginning was used, that the file
        is truncated, that it is shorter than 0.1 s, or that it is digital silence.

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
    notes: tuple[tuple[str, ...], ...] = ()

    @property
    def labels(self) -> NDArray[Any]:
        """Most probable label of each clip, of shape (n_clips,)."""
        return self.classes[self.probabilities.argmax(axis=1)]


@document_options(Placement)
def predict_audio(
    classifier: HeadClassifier,
    clips: str | Path | Iterable[Any],
    *,
    sampling_rate: float | None = None,
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
    clips : str, Path or sequence
        A folder, a manifest or a file, or a sequence of clips, paths and waveforms, as in :func:`calm.find_clips`.
    sampling_rate : float, default=None
        Sampling rate in Hz of the waveforms that have none, as in :func:`calm.find_clips`. None means the model's rate.
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
    >>> from calm import CALMClassifier, HeadExtractor
    >>> from calm.sounds import make_sounds
    >>> waves, labels = make_sounds(n_classes=2, n_per_class=3)
    >>> classifier = CALMClassifier().fit(HeadExtractor("tiny", sampling_rate=16000).transform(waves), labels)
    >>> predict_audio(classifier, waves, sampling_rate=16000).probabilities.shape
    (6, 2)
    """
    has_typicality = supports_rejection(classifier)

    def predict(X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return class probabilities, with the typicality as last column if the classifier can compute it."""
        columns = [classifier.predict_proba(X)]
        return np.column_stack([*columns, classifier.typicality(X)] if has_typicality else columns)

    processed = process_clips(
        classifier,
        find_clips(clips, sampling_rate=sampling_rate),
        predict,
        model=model,
        lalm=lalm,
        batch_size=batch_size,
        progress=progress,
        placement=placement,
    )
    n_classes = len(classifier.classes_)
    scores = np.empty((0, n_classes + has_typicality)) if processed.values is None else processed.values
    return AudioPrediction(
        clips=processed.clips,
        classes=classifier.classes_,
        probabilities=scores[:, :n_classes],
        typicality=scores[:, -1] if has_typicality else None,
        failures=processed.failures,
        notes=processed.notes,
    )
