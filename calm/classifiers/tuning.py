"""Choosing parameters of CALM on the support set alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from calm.classifiers.calm import CALMClassifier
from calm.unique_warnings import show_each_warning_once


def tune(
    classifier: CALMClassifier,
    grid: Mapping[str, Sequence[Any]],
    X: Any,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> CALMClassifier:
    """Fit with the parameters that predict held-out support clips best.

    Every fit scores support clips that it holds out in five folds (:attr:`CALMClassifier.held_out_log_loss_`, a proper
    score). Nothing is drawn at random; among equals the first is taken. A search over many candidates on few clips
    finds what fits those clips: keep the grid small, and evaluate on others.

    Parameters
    ----------
    classifier : CALMClassifier
    grid : mapping of str to sequences
        Values to try, as scikit-learn's grid searches take them.
    X, y, sample_weight, groups
        As :meth:`CALMClassifier.fit` takes them; groups of a cache count here too.

    Returns
    -------
    CALMClassifier
        Fitted; the one given stays as it is.

    Raises
    ------
    ValueError
        If no clip can be held out: every class has one, or there is nothing to choose (``calibrate`` is off).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["dog", "rain"], 5)
    >>> X = rng.normal(size=(10, 3, 8))
    >>> X[:5, 2, 0] += 9
    >>> X[5:, 2, 1] += 9
    >>> tune(CALMClassifier(), {"top_heads": [1, 3], "whitening": ["oas", None]}, X, y).top_heads
    1
    """
    best: CALMClassifier | None = None
    with show_each_warning_once():
        for settings in ParameterGrid(dict(grid)):
            fit = clone(classifier).set_params(**settings).fit(X, y, sample_weight, groups=groups)
            if np.isnan(fit.held_out_log_loss_):
                raise ValueError("no support clip was held out to choose by (one clip a class, or nothing to choose)")
            if best is None or fit.held_out_log_loss_ < best.held_out_log_loss_:
                best = fit
    if best is None:
        raise ValueError("the grid holds no candidate")
    return best
