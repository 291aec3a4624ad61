"""Predictions of labelled clips one by one, and the mistakes among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class LabelledPrediction:
    """Predicted label of one labelled clip.

    Attributes
    ----------
    clip : str
        Name of the clip.
    label : str
        True label.
    predicted : str
        Predicted label.
    probability : float
        Probability of the predicted label.
    """

    clip: str
    label: str
    predicted: str
    probability: float

    @property
    def is_correct(self) -> bool:
        """Whether the predicted label is the true label."""
        return self.label == self.predicted


def list_predictions(
    names: Sequence[str], labels: Sequence[str], classes: ArrayLike, probabilities: ArrayLike
) -> list[LabelledPrediction]:
    """List the most probable label of each clip.

    Parameters
    ----------
    names : sequence of str of length n_clips
        Names of the clips.
    labels : sequence of str of length n_clips
        True labels.
    classes : array-like of shape (n_classes,)
        Class labels of the classifier; they are compared with the true labels as text.
    probabilities : array-like of shape (n_clips, n_classes)
        Class probabilities of the clips.

    Returns
    -------
    list of LabelledPrediction
        One prediction per clip, in the given order.

    Examples
    --------
    >>> list_predictions(["a.wav"], ["dog"], ["dog", "rain"], [[0.25, 0.75]])
    [LabelledPrediction(clip='a.wav', label='dog', predicted='rain', probability=0.75)]
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    class_names = [str(label) for label in np.asarray(classes).tolist()]
    best = probabilities.argmax(axis=1)
    return [
        LabelledPrediction(str(name), str(label), class_names[k], float(row[k]))
        for name, label, k, row in zip(names, labels, best.tolist(), probabilities, strict=True)
    ]


def find_mistakes(predictions: Sequence[LabelledPrediction]) -> list[LabelledPrediction]:
    """Select the wrong predictions, the most confident one first.

    Parameters
    ----------
    predictions : sequence of LabelledPrediction
        Predictions, from :func:`list_predictions`.

    Returns
    -------
    list of LabelledPrediction
        Wrong predictions by descending probability; equal ones stay in the given order.

    Examples
    --------
    >>> predictions = list_predictions(
    ...     ["a", "b", "c"], ["dog", "dog", "rain"], ["dog", "rain"], [[0.4, 0.6], [0.9, 0.1], [0.8, 0.2]]
    ... )
    >>> [mistake.clip for mistake in find_mistakes(predictions)]
    ['c', 'a']
    """
    wrong = [prediction for prediction in predictions if not prediction.is_correct]
    return sorted(wrong, key=lambda prediction: -prediction.probability)
