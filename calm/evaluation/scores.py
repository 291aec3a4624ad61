"""Scores of a set of predictions, with a confidence interval of the accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm.classifiers.rejection import NO_CLASS, NO_NUMBER, is_numeric


@dataclass(frozen=True)
class ClassResult:
    """Scores of one class.

    Attributes
    ----------
    label : str
        Label of the class.
    clips : int
        Number of clips whose true label is this class.
    precision : float
        Share of the clips predicted as this class that belong to it.
    recall : float
        Share of the clips of this class that are predicted as it.
    f1 : float
        Harmonic mean of precision and recall.
    taken_for : str or None
        Wrong label that is most often predicted for clips of this class. None if all are predicted correctly.
    """

    label: str
    clips: int
    precision: float
    recall: float
    f1: float
    taken_for: str | None


@dataclass(frozen=True)
class Evaluation:
    """Accuracy with its confidence interval, and scores for each class.

    :func:`calm.evaluate` returns it.

    Attributes
    ----------
    clips : int
        Number of clips.
    correct : int
        Number of clips whose label is predicted correctly.
    accuracy : float
        ``correct / clips``.
    interval : tuple of float
        Lower and upper end of the 95 % Wilson confidence interval of the accuracy.
    classes : tuple of ClassResult
        Scores of each class, in the sorted order of the labels. Each has the attributes ``label``, ``clips``,
        ``precision``, ``recall``, ``f1`` and ``taken_for``.
    rejected : int
        Number of clips that got the reject label instead of a class. They count as errors.
    confusion_matrix : tuple of tuple of int
        Number of clips by true label (rows) and predicted label (columns), in the order of ``classes``. Rejected clips
        are not counted.
    accepted_accuracy : float
        Share of the other clips whose label is predicted correctly. NaN if all clips are rejected.

    See Also
    --------
    evaluate : Compute an evaluation from true and predicted labels.
    Comparison : Accuracies of several methods over many support sets.

    Examples
    --------
    >>> from calm import evaluate
    >>> evaluation = evaluate(["dog", "dog", "rain", "rain"], ["dog", "rain", "rain", "rain"])
    >>> evaluation.correct, evaluation.clips
    (3, 4)
    >>> for result in evaluation.classes:
    ...     print(result.label, result.clips, round(result.precision, 2), result.recall, result.taken_for)
    dog 2 1.0 0.5 rain
    rain 2 0.67 1.0 None
    """

    clips: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    classes: tuple[ClassResult, ...]
    rejected: int
    confusion_matrix: tuple[tuple[int, ...], ...]

    @property
    def accepted_accuracy(self) -> float:
        """Share of correct labels among the clips that are not rejected."""
        return self.correct / (self.clips - self.rejected) if self.rejected < self.clips else float("nan")


def evaluate(y_true: ArrayLike, y_pred: ArrayLike, *, reject_label: Any = None) -> Evaluation:
    """Score predicted labels against true labels.

    Parameters
    ----------
    y_true : array-like of shape (n_clips,)
        True label of each clip.
    y_pred : array-like of shape (n_clips,)
        Predicted label of each clip.
    reject_label : label, default=None
        Label of the clips that a classifier rejected. They count as errors. None means "none of these" for text and -1
        for numbers, unless it is a true label.

    Returns
    -------
    Evaluation
        Accuracy with its 95 % confidence interval, and precision, recall and F1 of each class.

    Raises
    ------
    ValueError
        If there are no clips, or ``reject_label`` is a true label.

    See Also
    --------
    compare : Compare several methods over many support sets.
    draw_episode : Draw a support set and the queries to predict.
    zero_shot : Predict labels by prompting, without a support set.

    Notes
    -----
    The confidence interval of the accuracy is Wilson's [1]_. It assumes that the clips are independent. If several
    clips come from one recording or speaker, the true interval is wider.

    References
    ----------
    .. [1] E. B. Wilson (1927). Probable Inference, the Law of Succession, and Statistical Inference. Journal of the
       American Statistical Association 22(158), 209-212.

    Examples
    --------
    >>> from calm import evaluate
    >>> evaluation = evaluate(["dog", "dog", "rain", "rain"], ["dog", "rain", "rain", "rain"])
    >>> evaluation.accuracy, [round(end, 2) for end in evaluation.interval]
    (0.75, [0.3, 0.95])
    >>> evaluation.classes[0].recall, evaluation.classes[0].taken_for
    (0.5, 'rain')

    A rejected clip is an error:

    >>> evaluation = evaluate(["dog", "dog", "rain"], ["dog", "none of these", "rain"])
    >>> evaluation.rejected, round(evaluation.accuracy, 2), evaluation.accepted_accuracy
    (1, 0.67, 1.0)
    """
    from scipy.stats import binomtest
    from sklearn.metrics import precision_recall_fscore_support

    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if len(true) == 0:
        raise ValueError("there are no clips to evaluate on: y_true is empty")
    correct = int((true == predicted).sum())
    interval = binomtest(correct, len(true)).proportion_ci(0.95, method="wilson")
    is_rejected = _find_rejected(true, predicted, reject_label)
    labels = np.unique(np.concatenate([true, predicted[~is_rejected]]))
    precision, recall, f1, clips = precision_recall_fscore_support(true, predicted, labels=labels, zero_division=0.0)
    numbers = np.searchsorted(labels, true[~is_rejected]), np.searchsorted(labels, predicted[~is_rejected])
    confusions = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(confusions, numbers, 1)
    errors = confusions * (1 - np.eye(len(labels), dtype=np.int64))
    return Evaluation(
        clips=len(true),
        correct=correct,
        accuracy=correct / len(true),
        interval=(float(interval.low), float(interval.high)),
        classes=tuple(
            ClassResult(
                label=str(label),
                clips=int(clips[i]),
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                taken_for=str(labels[errors[i].argmax()]) if errors[i].any() else None,
            )
            for i, label in enumerate(labels)
        ),
        rejected=int(is_rejected.sum()),
        confusion_matrix=tuple(map(tuple, confusions.tolist())),
    )


def _find_rejected(true: NDArray[Any], predicted: NDArray[Any], reject_label: Any) -> NDArray[np.bool_]:
    """Return for each clip whether its predicted label is the reject label."""
    if reject_label is None:
        reject_label = NO_NUMBER if is_numeric(predicted) else NO_CLASS
        if reject_label in true.tolist():
            return np.zeros(len(predicted), dtype=bool)
    elif reject_label in true.tolist():
        raise ValueError(f"reject_label {reject_label!r} is a true label: a rejected clip cannot be told from it")
    return np.asarray(predicted == reject_label, dtype=bool)
