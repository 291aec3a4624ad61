"""Compare few-shot methods on the same support sets of one head cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.registry import TITLES, make_method
from calm.evaluation.episodes import draw_episode
from calm.extract import HeadCache
from calm.unique_warnings import show_each_warning_once


@dataclass(frozen=True)
class Comparison:
    """Accuracies of several few-shot methods on the same support sets and queries.

    :func:`calm.compare` returns it. Because all methods are scored on the same episodes, differences between two
    methods are paired.

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


def compare(
    cache: HeadCache,
    shots: Sequence[int] = (5,),
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
    shots : sequence of int, default=(5,)
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
    return Comparison(tuple(shots), accuracy)


def _compute_half_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute half the width of the 95 % confidence interval of the mean of each row, by Student's t distribution."""
    from scipy import stats

    support_sets = values.shape[1]
    if support_sets < 2:
        return np.full(len(values), np.nan)
    return np.asarray(stats.sem(values, axis=1) * stats.t.ppf(0.975, support_sets - 1))
