"""Log loss, temperature scaling and calibration error of class probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm.fit.posterior import log_softmax

#: Candidate temperatures, as factors of the prior temperature.
_CANDIDATES = np.logspace(-1, 1, 21)
#: Standard deviation of the prior over the logarithm of the temperature.
_PRIOR_SPREAD = 0.5
#: Weight of a held-out clip, as a fraction of an independent clip: the models that score held-out clips share most of
#: their training clips.
_EVIDENCE = 0.3


def log_loss(scores: NDArray[np.floating], y: NDArray[np.integer], weights: NDArray[np.floating]) -> float:
    """Compute the weighted mean of ``−log softmax(scores)_y``.

    >>> log_loss(np.zeros((3, 2)), np.array([0, 1, 1]), np.ones(3)).__round__(3)
    0.693
    """
    log_probability = log_softmax(scores, axis=1)[np.arange(len(y)), y]
    return float(-np.average(log_probability, weights=weights))


def temperature_costs(
    scores: NDArray[np.floating], y: NDArray[np.integer], weights: NDArray[np.floating], prior: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the cost of each candidate softmax temperature on held-out clips.

    The cost is the negative log posterior of the temperature, up to a constant. The prior over the logarithm of the
    temperature is normal, so that it dominates where clips are few.

    Parameters
    ----------
    scores : array of shape (n_clips, n_classes)
        Scores of clips by models fitted without them.
    y : array of int of shape (n_clips,)
        Class number of each clip.
    weights : array of shape (n_clips,)
        Sample weight of each clip.
    prior : float
        Temperature at the mode of the prior.

    Returns
    -------
    temperatures, costs : arrays of shape (n_candidates,)
        Candidate temperatures and their costs.

    Examples
    --------
    These scores are always right, but too small. A lower temperature raises the confidence:

    >>> scores, y = np.array([[0.2, 0.0], [0.0, 0.2]] * 20), np.array([0, 1] * 20)
    >>> temperatures, costs = temperature_costs(scores, y, np.ones(40), prior=1.0)
    >>> round(float(temperatures[costs.argmin()]), 2)
    0.63
    """
    temperatures = prior * _CANDIDATES
    evidence = [weights.sum() * log_loss(scores / t, y, weights) for t in temperatures]
    return temperatures, _EVIDENCE * np.asarray(evidence) + 0.5 * (np.log(_CANDIDATES) / _PRIOR_SPREAD) ** 2


def expected_calibration_error(probabilities: ArrayLike, y: ArrayLike, n_bins: int = 10) -> float:
    """Compute the expected calibration error (ECE) of predicted probabilities.

    The ECE is the weighted mean, over bins of confidence, of the absolute difference between confidence and accuracy.

    Parameters
    ----------
    probabilities : array-like of shape (n_clips, n_classes)
        Predicted probability of each class.
    y : array-like of int of shape (n_clips,)
        True class number of each clip.
    n_bins : int, default=10
        Number of equally wide bins of confidence.

    Returns
    -------
    float
        Error between 0 (calibrated) and 1.

    See Also
    --------
    calm.fit.softmax : Compute probabilities from scores.
    sklearn.calibration.calibration_curve : Compute the curve behind this error for two classes.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017, arXiv 1706.04599.

    Examples
    --------
    All predictions are certain, and three of four are right:

    >>> from calm.fit import expected_calibration_error
    >>> expected_calibration_error([[1.0, 0.0]] * 4, [0, 0, 0, 1])
    0.25
    """
    p, truth = np.asarray(probabilities), np.asarray(y)
    confidence, is_right = p.max(axis=1), p.argmax(axis=1) == truth
    bin_number = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(bin_number, weights=is_right - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(truth))
