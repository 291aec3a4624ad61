"""Plots of accuracies and of head weights. They need matplotlib (extra ``plot``)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from calm.classifiers.base import HeadClassifier
from calm.classifiers.registry import TITLES

if TYPE_CHECKING:
    from calm.evaluation.comparison import Comparison

_NO_MATPLOTLIB = "plots need matplotlib: pip install 'calm-audio[plot]'"
#: Colour of CALM, of the other methods, and of a random guess.
_CALM, _OTHER, _CHANCE = "black", "tab:blue", "tab:red"
#: Markers of the curves, so that methods can be told apart without colour.
_MARKERS = "osD^vP*X"
#: Share of the distance between the numbers of shots over which the points of the methods are spread.
_SPREAD = 0.28
#: Maximum number of layers that are named below a map of head weights.
_NAMED_LAYERS = 12
#: Smallest range of an accuracy axis, in percentage points.
_LEAST_RANGE = 2.0
#: Largest weight of a head, relative to equal shares, that counts as little.
_LITTLE = 0.3
#: Maximum number of characters in one line of a class name.
_LINE = 18


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
        raise ImportError(_NO_MATPLOTLIB) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def new_axes(width: float = 7, height: float = 4.5) -> Any:
    """Create a figure with :mod:`matplotlib.pyplot`, which notebooks display, and return its axes.

    Parameters
    ----------
    width, height : float, default=7 and 4.5
        Size of the figure in inches.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError(_NO_MATPLOTLIB) from error
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def plot_curves(axis: Any, comparison: Comparison) -> None:
    """Plot the accuracy of each method against the number of shots, with 95 % confidence intervals.

    The points of the methods stand next to each other, so that their intervals do not overlap.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw on.
    comparison : Comparison
        Accuracies to draw.
    """
    shots, names = np.array(comparison.shots, dtype=float), list(comparison.accuracy)
    log_positions = _spread(np.log(shots), len(names))
    for number, name in enumerate(names):
        is_calm = name == "calm"
        style = {"color": _CALM, "linewidth": 2.2, "zorder": 3} if is_calm else {"linewidth": 1.2}
        means, widths = 100 * comparison.mean(name), 100 * np.nan_to_num(comparison.half_width(name))
        positions, label = np.exp(log_positions[number]), TITLES.get(name, name)
        marker = _MARKERS[number % len(_MARKERS)]
        axis.errorbar(positions, means, yerr=widths, marker=marker, markersize=5, capsize=3, label=label, **style)
    support_sets = comparison.support_sets
    whiskers = f"; whiskers: 95 % interval of the mean over {support_sets} support sets" if support_sets > 1 else ""
    axis.set(xscale="log", ylabel="accuracy, %")
    axis.set_xlabel(f"shots (support clips per class){whiskers}", fontsize=9)
    axis.set_xticks(shots, [f"{n:g}" for n in shots], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _spread(positions: NDArray[np.float64], n_methods: int) -> NDArray[np.float64]:
    """Return positions of each method, ``(n_methods, n_shots)``, side by side around the given positions."""
    distance = float(np.diff(np.sort(positions)).min(initial=1.0))
    offsets = np.linspace(-0.5, 0.5, n_methods) if n_methods > 1 else np.zeros(1)
    return positions + _SPREAD * distance * offsets[:, None]


def plot_accuracies(
    axis: Any, accuracy: Mapping[str, tuple[float, float]], chance: float | None = None, whiskers: str = ""
) -> None:
    """Plot accuracies as points with their values, and the accuracy of a random guess.

    The axis covers the best methods, so that their differences can be seen. Methods far below them, and a random guess
    far below them, are arrows at the left edge.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Axes to draw on.
    accuracy : mapping of str to tuple of float
        Accuracy of each method by its title, and half the width of its 95 % confidence interval; NaN draws no
        interval. The first method is drawn on top.
    chance : float, default=None
        Accuracy of a random guess. None draws none.
    whiskers : str, default=""
        What the intervals are, for a line below the axis.
    """
    from calm.evaluation.comparison import format_accuracy

    names = list(accuracy)
    means = np.array([100 * mean for mean, _ in accuracy.values()])
    widths = 100 * np.nan_to_num([width for _, width in accuracy.values()])
    low, high = _choose_limits(means - widths, means + widths, chance)
    for row, name in enumerate(names):
        colour = _CALM if name == TITLES["calm"] else _OTHER
        if means[row] < low:
            axis.plot(low, row, marker="<", markersize=9, color=colour, clip_on=False)
        else:
            axis.errorbar(means[row], row, xerr=widths[row], marker="o", markersize=7, capsize=4, color=colour)
        value = ("◂ " if means[row] < low else "") + format_accuracy(*accuracy[name])
        axis.annotate(value, (1.02, row), xycoords=axis.get_yaxis_transform(), va="center", fontsize=9)
    axis.set(xlim=(low, high), ylim=(len(names) - 0.5, -0.5))
    axis.set_yticks(range(len(names)), [textwrap.fill(name, _LINE) for name in names])
    notes = [whiskers] if whiskers else []
    if (means < low).any():
        notes.append("arrow: below this range")
    axis.set_xlabel("\n".join(["accuracy, %", *notes]), fontsize=9)
    axis.grid(axis="x", alpha=0.3)
    if chance is not None:
        _mark_chance(axis, 100 * chance, low)


def _choose_limits(lows: NDArray[np.float64], highs: NDArray[np.float64], chance: float | None) -> tuple[float, float]:
    """Choose the range of an accuracy axis in percent.

    It covers the intervals from the top down to the first gap that is wider than twice the range above it, and chance
    if it lies above such a gap.
    """
    order = np.argsort(-lows)
    low, high = float(lows[order[0]]), float(highs.max())
    ends = [(float(highs[i]), float(lows[i])) for i in order[1:]]
    if chance is not None:
        ends.append((100 * chance, 100 * chance))
    for number, (upper, lower) in enumerate(sorted(ends, reverse=True)):
        if number and low - upper > 2 * max(high - low, _LEAST_RANGE):
            break
        low = min(low, lower)
    missing = max(0.0, _LEAST_RANGE - (high - low))
    margin = 0.08 * max(high - low, _LEAST_RANGE)
    return max(0.0, low - missing - margin), high + (margin if high < 100 else margin / 4)


def _mark_chance(axis: Any, chance: float, low: float) -> None:
    """Draw the accuracy of a random guess as a line, or as an arrow at the left edge if it is below the axis."""
    style = {"color": _CHANCE, "fontsize": 8, "va": "bottom"}
    if chance >= low:
        axis.axvline(chance, color=_CHANCE, linestyle="--", linewidth=1)
        transform = axis.get_xaxis_transform()
        axis.annotate(f"chance {chance:.1f}", (chance, 1.01), xycoords=transform, ha="center", **style)
    else:
        axis.annotate(f"← chance {chance:.1f}", (0, 1.01), xycoords="axes fraction", ha="left", **style)


def plot_head_weights(axis: Any, classifier: HeadClassifier) -> None:
    """Plot the weight of each head for each class, as a multiple of the weight in a uniform vote.

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
    names = [str(label) for label in classifier.classes_]
    font_size = 8 if len(names) <= 30 else 5
    lines = [textwrap.fill(name, _LINE) for name in names]
    axis.set_yticks(range(len(names)), lines, fontsize=font_size, parse_math=False)  # a label may contain dollar signs
    axis.set_ylabel("class")
    _label_heads(axis, classifier)
    title = _describe_dark_heads(weights)
    if title:
        axis.set_title(title, fontsize=8)
    bar = axis.figure.colorbar(image, ax=axis, fraction=0.03)
    bar.set_label("head's share of the weight, relative to equal shares", fontsize=8)


def _describe_dark_heads(weights: NDArray[np.float64]) -> str:
    """Say how many heads are black because they have no weight, and how many are dark because they have little."""
    largest, total = weights.max(axis=0), weights.shape[1]
    unused, little = int((largest == 0).sum()), int(((largest > 0) & (largest < _LITTLE)).sum())
    parts = [f"black: {unused} of {total} heads are not used (weight 0)"] if unused else []
    if little:
        parts.append(f"dark: {little} of {total} heads hardly separate the classes and have little weight")
    return "; ".join(parts)


def _label_heads(axis: Any, classifier: HeadClassifier) -> None:
    """Label the columns of a map of head weights by layer, if the layers are known."""
    if classifier.layers_ is None:
        axis.set_xlabel("attention head")
        return
    heads, layers = classifier.n_heads_in_, classifier.layers_
    starts = np.arange(0, heads, heads // layers)
    for start in starts[1:]:
        axis.axvline(start - 0.5, color="white", linewidth=0.7 if layers <= 2 * _NAMED_LAYERS else 0.3)
    named = starts[:: -(-layers // _NAMED_LAYERS)]
    numbers = [str(classifier.head_names_[start]).split(" · ")[0].removeprefix("layer ") for start in named]
    axis.set_xticks(named + (heads // layers - 1) / 2, numbers, fontsize=8)
    axis.set_xlabel(f"layer (each column is one of its {heads // layers} attention heads)")
