"""From scores to probabilities that can be acted on: proper scores, temperature, error of calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm.fit.posterior import log_softmax

#: Candidates for a temperature, relative to where it is put before any evidence, and the spread of its logarithm.
_CANDIDATES = np.logspace(-1, 1, 21)
_PRIOR_SPREAD = 0.5
#: How much of an independent clip a left-out clip is taken for, all being scored by models that share the others.
_EVIDENCE = 0.3


def log_loss(scores: NDArray[np.floating], y: NDArray[np.integer], weights: NDArray[np.floating]) -> float:
    """Compute the weighted mean of ``−log softmax(scores)_y``, a proper score.

    >>> log_loss(np.zeros((3, 2)), np.array([0, 1, 1]), np.ones(3)).__round__(3)
    0.693
    """
    own = log_softmax(scores, axis=1)[np.arange(len(y)), y]
    return float(-np.average(own, weights=weights))


def temperature_costs(
    scores: NDArray[np.floating], y: NDArray[np.integer], weights: NDArray[np.floating], prior: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute what each candidate for the temperature of a softmax costs on clips that were left out.

    Parameters
    ----------
    scores : array (n, C)
        Of clips by models built without them.
    y : array of int (n,)
    weights : array (n,)
    prior : float
        What the temperature is likely to be: it is held there, in the logarithm, where clips are few.

    Returns
    -------
    temperatures, costs : arrays
        Costs are negative log posteriors, up to a constant.
    """
    temperatures = prior * _CANDIDATES
    evidence = [weights.sum() * log_loss(scores / t, y, weights) for t in temperatures]
    return temperatures, _EVIDENCE * np.asarray(evidence) + 0.5 * (np.log(_CANDIDATES) / _PRIOR_SPREAD) ** 2


def choose_temperature(
    scores: NDArray[np.floating], y: NDArray[np.integer], weights: NDArray[np.floating], prior: float
) -> float:
    """Return the temperature that costs least; see :func:`temperature_costs`.

    Scores that are right, but timid:

    >>> scores, y = np.array([[0.2, 0.0], [0.0, 0.2]] * 20), np.array([0, 1] * 20)
    >>> round(choose_temperature(scores, y, np.ones(40), prior=1.0), 2)
    0.63
    """
    temperatures, costs = temperature_costs(scores, y, weights, prior)
    return float(temperatures[costs.argmin()])


def expected_calibration_error(probabilities: ArrayLike, y: ArrayLike, bins: int = 10) -> float:
    """Compute how far confidence is from accuracy, on average over equally wide bins of confidence (Guo et al., 2017).

    Parameters
    ----------
    probabilities : array-like (n, C)
    y : array-like of int (n,)
        True class numbers.
    bins : int

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    Sure of four, right of three:

    >>> expected_calibration_error([[1.0, 0.0]] * 4, [0, 0, 0, 1])
    0.25
    """
    p, truth = np.asarray(probabilities), np.asarray(y)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(number, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))
