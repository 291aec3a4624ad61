"""Explain the predictions of a fitted classifier for clips, by the contribution of each attention head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calm.classifiers.base import HeadClassifier
from calm.classifiers.explanation import Explanation
from calm.extract import Clip, Placement, find_clips
from calm.inference.classifier_model import process_clips
from calm.options import document_options

if TYPE_CHECKING:
    from calm.extract import LALM


@dataclass(frozen=True)
class AudioExplanation:
    """Contribution of each attention head to the predicted labels of clips.

    Attributes
    ----------
    clips : tuple of Clip
        The ``n_clips`` clips that did not fail.
    explanation : Explanation
        Labels, votes and importance of the heads, one row for each of these clips.
    failures : dict of str to str
        Reason of each failure by name of the clip.
    notes : tuple of tuple of str
        What is unusual about the audio of each clip, as in :class:`calm.AudioPrediction`.

    See Also
    --------
    calm.explain_audio : Explain the predictions for clips.
    calm.Explanation : Explanation of predictions from head vectors.

    Examples
    --------
    >>> from calm import CALMClassifier, HeadExtractor, explain_audio
    >>> from calm.sounds import make_sounds
    >>> waves, labels = make_sounds(n_classes=2, n_per_class=3)
    >>> classifier = CALMClassifier().fit(HeadExtractor("tiny", sampling_rate=16000).transform(waves), labels)
    >>> explained = explain_audio(classifier, waves[:1], sampling_rate=16000)
    >>> len(explained.clips), explained.explanation.contributions.shape
    (1, (1, 48, 2))
    """

    clips: tuple[Clip, ...]
    explanation: Explanation
    failures: dict[str, str]
    notes: tuple[tuple[str, ...], ...] = ()


@document_options(Placement)
def explain_audio(
    classifier: HeadClassifier,
    clips: str | Path | Iterable[Any],
    *,
    sampling_rate: float | None = None,
    model: str | None = None,
    lalm: LALM | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **placement: Any,
) -> AudioExplanation:
    """Explain the predictions of a fitted classifier for clips, by the contribution of each attention head.

    Head vectors are extracted as in :func:`calm.predict_audio`. The contribution of every head to every class is held
    in memory for all clips, so explain a few clips at a time.

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
    AudioExplanation
        Contributions of the heads, and the reasons of failures.

    Raises
    ------
    ValueError
        If the classifier was fitted on plain arrays, the model is not the one that extracted its support set, or every
        clip failed; the message names the difference or the first failure.
    TypeError
        If ``lalm`` is given together with ``model`` or an option of the placement.

    See Also
    --------
    calm.predict_audio : Predict the labels of clips.
    calm.CALMClassifier.explain : Explain predictions from head vectors.

    Examples
    --------
    >>> from calm import CALMClassifier, HeadExtractor
    >>> from calm.sounds import make_sounds
    >>> waves, labels = make_sounds(n_classes=2, n_per_class=3)
    >>> classifier = CALMClassifier().fit(HeadExtractor("tiny", sampling_rate=16000).transform(waves), labels)
    >>> explained = explain_audio(classifier, waves[:1], sampling_rate=16000)
    >>> len(explained.explanation.top_heads(0, n=3))
    3
    """
    processed = process_clips(
        classifier,
        find_clips(clips, sampling_rate=sampling_rate),
        np.asarray,
        model=model,
        lalm=lalm,
        batch_size=batch_size,
        progress=progress,
        placement=placement,
    )
    if processed.values is None:
        reasons = [f"{name}: {reason}" for name, reason in processed.failures.items()]
        raise ValueError(f"there is no clip to explain{''.join(f'; {reason}' for reason in reasons[:1])}")
    return AudioExplanation(processed.clips, classifier.explain(processed.values), processed.failures, processed.notes)
