"""Hyperparameter search for CALM on the support set."""

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
    """Fit a classifier with the parameters that predict held-out support clips best.

    A classifier is fitted with every combination of parameters in the grid. The one with the smallest log loss on
    held-out support clips (``held_out_log_loss_``) is returned. The first one is returned if several are equal.

    Parameters
    ----------
    classifier : CALMClassifier
        Classifier whose parameters are searched. It is cloned and stays unchanged.
    grid : mapping of str to sequence
        Candidate values by parameter name, as in :class:`sklearn.model_selection.GridSearchCV`.
    X : array-like, torch.Tensor or HeadCache
        Head vectors of the support clips, of shape (n_clips, n_heads, head_dim) or in any other form that
        ``CALMClassifier.fit`` accepts.
    y : array-like of shape (n_clips,)
        Class labels.
    sample_weight : array-like of shape (n_clips,), default=None
        Weight of each clip. None means a weight of 1 for every clip.
    groups : array-like of shape (n_clips,), default=None
        Group of each clip. Whole groups are held out. By default, the groups of a :class:`calm.HeadCache` are used.

    Returns
    -------
    CALMClassifier
        Fitted classifier with the best parameters.

    Raises
    ------
    ValueError
        If the grid is empty, or if no clip can be held out because every class has a single clip or
        ``calibrate=False``.

    See Also
    --------
    calm.CALMClassifier : The classifier that is tuned.
    calm.compare : Compare methods on the same support sets.
    sklearn.model_selection.GridSearchCV : Grid search by cross-validation, for every classifier.

    Notes
    -----
    The search is deterministic. A large grid on few clips overfits to these clips: keep the grid small, and evaluate
    the result on other clips.

    Examples
    --------
    Only the last of three heads separates the classes, so that one head is enough:

    >>> import numpy as np
    >>> from calm import CALMClassifier, tune
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
        for parameters in ParameterGrid(dict(grid)):
            candidate = clone(classifier).set_params(**parameters).fit(X, y, sample_weight, groups=groups)
            if np.isnan(candidate.held_out_log_loss_):
                raise ValueError(
                    "tune needs held-out support clips, but none were held out: "
                    "use at least two clips per class and calibrate=True"
                )
            if best is None or candidate.held_out_log_loss_ < best.held_out_log_loss_:
                best = candidate
    if best is None:
        raise ValueError("the grid is empty: give at least one value for each parameter")
    return best
