"""Plots of accuracies and of head weights. They need matplotlib (extra ``plot``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import HeadClassifier
from calm.classifiers.registry import TITLES
from calm.evaluation.comparison import Comparison


def new_figure(columns: int, width: float, height: float) -> tuple[Any, Any]:
    """Create a figure with axes side by side.

    Parameters
    ----------
    columns : int
        Number of axes.
    width, height : float
        Size of the figure in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The figure.
    axes : matplotlib.axes.Axes, or ndarray of shape (columns,)
        Its axes; a single one is not in an array.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'calm-audio[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def plot_curves(axis: Any, comparison: Comparison) -> None:
    """Plot the accuracy of each method against the number of shots, with 95 % confidence intervals."""
    shots = np.array(comparison.shots)
    for number, name in enumerate(comparison.accuracy):
        positions = shots * 1.02 ** (number - len(comparison.accuracy) / 2)  # so that error bars do not overlap
        style = {"color": "black", "linewidth": 2.5, "zorder": 3} if name == "calm" else {"linewidth": 1.2}
        means, widths = 100 * comparison.mean(name), 100 * comparison.half_width(name)
        axis.errorbar(positions, means, yerr=widths, marker="o", markersize=4, capsize=2, label=TITLES[name], **style)
    axis.set(xscale="log", xlabel="shots (clips per class)", ylabel="accuracy, %")
    axis.set_xticks(shots, [str(n) for n in shots], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def plot_bars(axis: Any, accuracy: Mapping[str, tuple[float, float]], chance: float) -> None:
    """Plot accuracies as bars, and the accuracy of a random guess.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw on.
    accuracy : dict of str to tuple of float
        Accuracy of each method by its title, and half the width of its 95 % confidence interval; NaN draws no
        interval. The first method is drawn on top.
    chance : float
        Accuracy of a random guess.
    """
    names = list(accuracy)[::-1]
    values = np.array([100 * accuracy[name][0] for name in names])
    widths = np.array([100 * accuracy[name][1] for name in names])
    colours = ["black" if name == TITLES["calm"] else "tab:blue" for name in names]
    axis.barh(names, values, xerr=np.where(np.isnan(widths), 0, widths), color=colours, capsize=3, alpha=0.85)
    axis.axvline(100 * chance, color="tab:red", linestyle="--", linewidth=1, label="chance")
    axis.set(xlabel="accuracy, %", xlim=(0, 100))
    axis.legend(fontsize=8, loc="lower right")


def plot_head_weights(axis: Any, classifier: HeadClassifier) -> None:
    """Plot the weight of each head for each class, as a multiple of the uniform weight.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw on.
    classifier : HeadClassifier
        Fitted classifier with the attribute ``head_weights_``.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the classifier is not fitted.
    ValueError
        If the classifier has no head weights.
    """
    check_is_fitted(classifier)
    if not hasattr(classifier, "head_weights_"):
        raise ValueError(f"{type(classifier).__name__} has no head weights to plot")
    weights = np.asarray(classifier.head_weights_).T * classifier.n_heads_in_
    image = axis.imshow(weights, aspect="auto", cmap="magma", vmin=0, interpolation="nearest")
    axis.set_yticks(range(len(classifier.classes_)), [str(label) for label in classifier.classes_], fontsize=8)
    if classifier.layers_ is not None:
        per_layer = classifier.n_heads_in_ // classifier.layers_
        starts = np.arange(0, classifier.n_heads_in_, per_layer)
        axis.set_xticks(
            starts - 0.5, [name.split(" · ")[0] for name in classifier.head_names_[starts]], fontsize=8, ha="left"
        )
        for start in starts[1:]:
            axis.axvline(start - 0.5, color="white", linewidth=0.7)
    axis.set_title("head weight, relative to a uniform vote", fontsize=10)
    axis.figure.colorbar(image, ax=axis, fraction=0.03)
