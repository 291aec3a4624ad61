"""Plots of a comparison and of what a classifier has learnt; matplotlib is an extra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import HeadClassifier
from calm.classifiers.registry import TITLES
from calm.evaluation.comparison import Comparison


def new_figure(columns: int, width: float, height: float) -> tuple[Any, Any]:
    """Return a figure with axes side by side.

    Raises
    ------
    ImportError
        If matplotlib is not there.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'calm-audio[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def plot_curves(axis: Any, comparison: Comparison) -> None:
    """Draw accuracy against shots, with 95 % intervals."""
    shots = np.array(comparison.shots)
    for number, name in enumerate(comparison.accuracy):
        beside = shots * 1.02 ** (number - len(comparison.accuracy) / 2)  # bars that do not hide each other
        style = {"color": "black", "linewidth": 2.5, "zorder": 3} if name == "calm" else {"linewidth": 1.2}
        means, widths = 100 * comparison.mean(name), 100 * comparison.half_width(name)
        axis.errorbar(beside, means, yerr=widths, marker="o", markersize=4, capsize=2, label=TITLES[name], **style)
    axis.set(xscale="log", xlabel="shots (clips a class)", ylabel="accuracy, %")
    axis.set_xticks(shots, [str(n) for n in shots], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def plot_bars(axis: Any, accuracy: Mapping[str, tuple[float, float]], chance: float) -> None:
    """Draw accuracies, each with half its 95 % interval, and the level of chance."""
    names = list(accuracy)[::-1]
    values = np.array([100 * accuracy[name][0] for name in names])
    widths = np.array([100 * accuracy[name][1] for name in names])
    colours = ["black" if name == TITLES["calm"] else "tab:blue" for name in names]
    axis.barh(names, values, xerr=np.where(np.isnan(widths), 0, widths), color=colours, capsize=3, alpha=0.85)
    axis.axvline(100 * chance, color="tab:red", linestyle="--", linewidth=1, label="chance")
    axis.set(xlabel="accuracy, %", xlim=(0, 100))
    axis.legend(fontsize=8, loc="lower right")


def plot_head_weights(axis: Any, classifier: HeadClassifier) -> None:
    """Draw how much each head counts for each class, as a multiple of an equal share.

    Raises
    ------
    ValueError
        If the method has no head weights.
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
    axis.set_title("weight of each head, in equal shares", fontsize=10)
    axis.figure.colorbar(image, ax=axis, fraction=0.03)
