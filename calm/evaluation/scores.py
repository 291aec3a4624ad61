"""How good a set of predictions is, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class ClassResult:
    """One row of the per-class table."""

    label: str
    clips: int  #: queried
    precision: float  #: share of the clips called this that are
    recall: float  #: share of the clips that are this and were called so
    f1: float
    taken_for: str | None  #: the label most often given wrongly; None if none was


@dataclass(frozen=True)
class Evaluation:
    """Accuracy with its interval, and a result for each class."""

    clips: int
    correct: int
    accuracy: float
    interval: tuple[float, float]  #: 95 % Wilson interval
    classes: tuple[ClassResult, ...]


def evaluate(y_true: ArrayLike, y_pred: ArrayLike) -> Evaluation:
    """Compare predictions with the truth.

    The interval is Wilson's, at 95 %. It takes clips as independent: where several come from one recording or
    speaker, the true interval is wider.

    Parameters
    ----------
    y_true, y_pred : array-like (n,)

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If there is nothing to compare.

    Examples
    --------
    >>> result = evaluate(["dog", "dog", "rain", "rain"], ["dog", "rain", "rain", "rain"])
    >>> result.accuracy, [round(end, 2) for end in result.interval]
    (0.75, [0.3, 0.95])
    >>> result.classes[0].recall, result.classes[0].taken_for
    (0.5, 'rain')
    """
    from scipy.stats import binomtest
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, predicted = np.asarray(y_true), np.asarray(y_pred)
    if len(truth) == 0:
        raise ValueError("no clips to evaluate on")
    correct = int((truth == predicted).sum())
    interval = binomtest(correct, len(truth)).proportion_ci(0.95, method="wilson")
    labels = np.unique(np.concatenate([truth, predicted]))
    precision, recall, f1, clips = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0.0)
    wrong = confusion_matrix(truth, predicted, labels=labels)
    np.fill_diagonal(wrong, 0)
    return Evaluation(
        clips=len(truth),
        correct=correct,
        accuracy=correct / len(truth),
        interval=(float(interval.low), float(interval.high)),
        classes=tuple(
            ClassResult(
                label=str(label),
                clips=int(clips[i]),
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                taken_for=str(labels[wrong[i].argmax()]) if wrong[i].any() else None,
            )
            for i, label in enumerate(labels)
        ),
    )
