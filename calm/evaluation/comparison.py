"""Compare few-shot methods on the same support sets of one head cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.registry import TITLES, make_method
from calm.evaluation.episodes import draw_episode
from calm.extract import HeadCache
from calm.unique_warnings import show_each_warning_once


@dataclass(frozen=True, repr=False)
class Comparison:
    """Accuracies of several few-shot methods on the same support sets and queries.

    :func:`calm.compare` returns it. Because all methods are scored on the same episodes, differences between two
    methods are paired. It prints as a table of mean accuracies.

    Attributes
    ----------
    shots : tuple of int
        Numbers of support clips per class that were compared, of length ``n_shots``.
    accuracy : dict of str to ndarray of shape (n_shots, n_support_sets)
        Accuracy of each method on each support set, between 0 and 1. The keys are the short names that
        :func:`calm.make_method` accepts.

    See Also
    --------
    compare : Run the comparison on a head cache.
    draw_episode : Draw one support set and its queries.
    Evaluation : Scores of one set of predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from calm import Comparison
    >>> comparison = Comparison(
    ...     shots=(1, 5),
    ...     accuracy={
    ...         "calm": np.array([[0.6, 0.7, 0.8], [0.8, 0.9, 1.0]]),
    ...         "sav": np.array([[0.5, 0.6, 0.7], [0.8, 0.9, 0.7]]),
    ...     },
    ... )
    >>> comparison
    accuracy in %: mean over 3 support sets ± half width of its 95 % interval
                1 shot      5 shots
    calm   70.0 ± 24.8  90.0 ± 24.8
    sav    60.0 ± 24.8  80.0 ± 24.8
    >>> comparison.mean("calm")
    array([0.7, 0.9])
    >>> comparison.half_width("calm").round(3)
    array([0.248, 0.248])
    >>> difference, half_width = comparison.difference("calm", over="sav")
    >>> difference.round(3)
    array([0.1, 0.1])
    """

    shots: tuple[int, ...]
    accuracy: Mapping[str, NDArray[np.float64]]

    def mean(self, method: str) -> NDArray[np.float64]:
        """Return the mean accuracy of a method for each number of shots.

        Parameters
        ----------
        method : str
            Short name of the method, a key of ``accuracy``.

        Returns
        -------
        ndarray of shape (n_shots,)
            Mean over the support sets.
        """
        return self.accuracy[method].mean(axis=1)

    def half_width(self, method: str) -> NDArray[np.float64]:
        """Return half the width of the 95 % confidence interval of each mean accuracy.

        Parameters
        ----------
        method : str
            Short name of the method, a key of ``accuracy``.

        Returns
        -------
        ndarray of shape (n_shots,)
            From Student's t distribution over the support sets. NaN if there is only one support set.
        """
        return _compute_half_width(self.accuracy[method])

    def difference(self, method: str, over: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the paired difference in accuracy between two methods, and its uncertainty.

        Parameters
        ----------
        method : str
            Short name of the method, a key of ``accuracy``.
        over : str
            Short name of the method whose accuracy is subtracted.

        Returns
        -------
        difference : ndarray of shape (n_shots,)
            Mean over the support sets. Positive where ``method`` is better.
        half_width : ndarray of shape (n_shots,)
            Half the width of the 95 % confidence interval of the mean difference. NaN if there is only one support set.
        """
        differences = self.accuracy[method] - self.accuracy[over]
        return differences.mean(axis=1), _compute_half_width(differences)

    @property
    def support_sets(self) -> int:
        """Number of support sets for each number of shots."""
        return next(iter(self.accuracy.values())).shape[1] if self.accuracy else 0

    def plot(self, axis: Any = None) -> Any:
        """Plot the accuracy of each method against the number of shots, with 95 % confidence intervals.

        Parameters
        ----------
        axis : matplotlib.axes.Axes, default=None
            Axes to draw on. None creates a figure with ``matplotlib.pyplot``.

        Returns
        -------
        matplotlib.axes.Axes
            The axes; its attribute ``figure`` is the figure.

        Raises
        ------
        ImportError
            If matplotlib is not installed.

        See Also
        --------
        to_frame : All accuracies as a pandas data frame.

        Examples
        --------
        >>> import numpy as np
        >>> from calm import Comparison
        >>> comparison = Comparison(shots=(1, 5), accuracy={"calm": np.array([[0.6, 0.7], [0.8, 0.9]])})
        >>> comparison.plot().get_ylabel()
        'accuracy, %'
        """
        from calm.evaluation.plots import new_axes, plot_curves

        axis = new_axes() if axis is None else axis
        plot_curves(axis, self)
        return axis

    def to_frame(self) -> Any:
        """Return all accuracies as a pandas data frame with one row per method, number of shots and support set.

        Returns
        -------
        pandas.DataFrame
            Columns ``method``, ``shots``, ``support_set`` (its seed) and ``accuracy``.

        Raises
        ------
        ImportError
            If pandas is not installed.

        See Also
        --------
        plot : Plot mean accuracies.

        Examples
        --------
        >>> import numpy as np
        >>> from calm import Comparison
        >>> accuracy = {"calm": np.array([[0.8, 0.9]]), "sav": np.array([[0.7, 0.9]])}
        >>> comparison = Comparison(shots=(5,), accuracy=accuracy)
        >>> comparison.to_frame()
          method  shots  support_set  accuracy
        0   calm      5            0       0.8
        1   calm      5            1       0.9
        2    sav      5            0       0.7
        3    sav      5            1       0.9
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error
        rows = [
            (method, shots, support_set, float(accuracy))
            for method, accuracies in self.accuracy.items()
            for shots, row in zip(self.shots, accuracies, strict=True)
            for support_set, accuracy in enumerate(row)
        ]
        return pd.DataFrame(rows, columns=["method", "shots", "support_set", "accuracy"])

    def _make_table(self) -> tuple[str, list[list[str]]]:
        """Return a caption, and a table of text whose first row is the header and whose first column is the method."""
        header = ["", *(f"{shots} shot{'s' if shots != 1 else ''}" for shots in self.shots)]
        rows = [[method, *map(format_accuracy, self.mean(method), self.half_width(method))] for method in self.accuracy]
        if self.support_sets == 1:
            return "accuracy in % on one support set", [header, *rows]
        caption = f"accuracy in %: mean over {self.support_sets} support sets ± half width of its 95 % interval"
        return caption, [header, *rows]

    def __repr__(self) -> str:
        """Return a table of mean accuracies with the half widths of their 95 % confidence intervals."""
        caption, (header, *rows) = self._make_table()
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(row[1:], widths[1:], strict=True))])
            for row in (header, *rows)
        ]
        return "\n".join([caption, *lines])

    def _repr_html_(self) -> str:
        """Return the table as HTML, for notebooks."""
        caption, (header, *rows) = self._make_table()
        cells = [
            f"<tr><th>{escape(row[0])}</th>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row[1:])}</tr>"
            for tag, group in (("th", [header]), ("td", rows))
            for row in group
        ]
        return f"<table><caption>{escape(caption)}</caption>{''.join(cells)}</table>"


def compare(
    cache: HeadCache,
    shots: int | Sequence[int] = (5,),
    *,
    support_sets: int = 10,
    methods: Sequence[str] = tuple(TITLES),
) -> Comparison:
    """Compare few-shot methods on the same support sets of a head cache.

    Each support set and its queries are drawn by :func:`calm.draw_episode`, so that no group and no duplicate of a
    support clip is among the queries.

    Parameters
    ----------
    cache : HeadCache
        Head vectors of labelled clips.
    shots : int or sequence of int, default=(5,)
        Numbers of support clips per class to compare.
    support_sets : int, default=10
        Number of support sets for each number of shots. They are drawn with the seeds 0, 1, 2, ...
    methods : sequence of str, default=all methods
        Short names of the methods, as :func:`calm.make_method` accepts them.

    Returns
    -------
    Comparison
        Accuracy of each method on each support set.

    Raises
    ------
    ValueError
        If a method is unknown, a class has fewer clips than shots, or no query clips are left.

    Warns
    -----
    UserWarning
        If a support set has too few groups for cross-validation. Each warning is shown once, not once for each
        support set.

    See Also
    --------
    make_method : Create a classifier by its short name.
    draw_episode : Draw one support set and its queries.
    evaluate : Score one set of predictions, with results for each class.

    Examples
    --------
    >>> import tempfile
    >>> from calm import HeadCache, Request, compare, extract_to_cache, find_clips
    >>> from calm.demo import write_sounds
    >>> from calm.sounds import make_sounds
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     waves, labels = make_sounds(n_classes=2, n_per_class=6, seconds=0.5)
    ...     clips = find_clips(write_sounds(f"{folder}/sounds", waves, labels))
    ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny", device="cpu"))
    ...     with HeadCache(f"{folder}/heads.h5") as cache:
    ...         comparison = compare(cache, shots=(1, 3), support_sets=2, methods=("calm", "sav"))
    >>> comparison.accuracy["calm"].shape  # (numbers of shots, support sets)
    (2, 2)
    >>> comparison.mean("sav").shape
    (2,)
    """
    shots = (shots,) if isinstance(shots, int) else tuple(shots)
    if support_sets < 1 or not shots:
        raise ValueError(
            f"support_sets must be at least 1 and shots must not be empty, got support_sets={support_sets} and "
            f"shots={shots}"
        )
    classifiers = {name: make_method(name) for name in methods}
    accuracy = {name: np.zeros((len(shots), support_sets)) for name in methods}
    with show_each_warning_once():
        for row, n_shots in enumerate(shots):
            for seed in range(support_sets):
                episode = draw_episode(cache, n_shots, seed)
                if len(episode.query) == 0:
                    raise ValueError(f"no query clips are left with {n_shots} shots per class: use fewer shots")
                for name, classifier in classifiers.items():
                    classifier.fit(episode.support, episode.support.labels)
                    accuracy[name][row, seed] = classifier.score(episode.query, episode.query.labels)
    return Comparison(shots, accuracy)


def format_accuracy(mean: float, half_width: float) -> str:
    """Format an accuracy between 0 and 1 in percent, with the half width of its interval if that is known.

    >>> format_accuracy(0.9, 0.012), format_accuracy(0.9, float("nan"))
    ('90.0 ± 1.2', '90.0')
    """
    return f"{100 * mean:.1f}" + ("" if np.isnan(half_width) else f" ± {100 * half_width:.1f}")


def _compute_half_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute half the width of the 95 % confidence interval of the mean of each row, by Student's t distribution."""
    from scipy import stats

    support_sets = values.shape[1]
    if support_sets < 2:
        return np.full(len(values), np.nan)
    return np.asarray(stats.sem(values, axis=1) * stats.t.ppf(0.975, support_sets - 1))
