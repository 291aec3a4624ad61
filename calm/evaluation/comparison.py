"""The family side by side on one cache, over seeded support sets, paired."""

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
    """Accuracies of some methods on the same support sets and queries."""

    shots: tuple[int, ...]
    accuracy: Mapping[str, NDArray[np.float64]]  #: by short name of the method, (shots, support sets), between 0 and 1

    def mean(self, method: str) -> NDArray[np.float64]:
        """Return the mean accuracy at each number of shots."""
        return self.accuracy[method].mean(axis=1)

    def half_width(self, method: str) -> NDArray[np.float64]:
        """Return half the 95 % interval of each mean, by Student's distribution over support sets; NaN of one."""
        return _half_width(self.accuracy[method])

    def difference(self, method: str, over: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how far a method is ahead of another on the same support sets, and half the 95 % interval of it."""
        ahead = self.accuracy[method] - self.accuracy[over]
        return ahead.mean(axis=1), _half_width(ahead)


def compare(
    cache: HeadCache,
    shots: Sequence[int] = (5,),
    *,
    support_sets: int = 10,
    methods: Sequence[str] = tuple(TITLES),
) -> Comparison:
    """Fit every method on the same support sets, and score it on the clips of other groups.

    Parameters
    ----------
    cache : HeadCache
        With labels.
    shots : sequence of int, default=(5,)
        Support clips a class.
    support_sets : int, default=10
        How many are drawn at each number of shots, by the seeds 0, 1, 2 …; see :func:`calm.draw_episode`.
    methods : sequence of str, default=all
        Short names, as :func:`calm.make_method` takes them.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If a method is unknown, or no clip is left to score on.

    Warns
    -----
    UserWarning
        If a support set has too few groups to hold any out; once, however many have.

    Examples
    --------
    >>> from calm import HeadCache
    >>> with HeadCache("heads.h5") as cache:  # doctest: +SKIP
    ...     found = compare(cache, shots=(1, 5), methods=("calm", "sav"))
    ...     found.mean("calm"), found.lead("calm", over="sav")
    """
    if support_sets < 1 or not shots:
        raise ValueError(f"support_sets must be at least 1, and shots at least one number; got {support_sets}, {shots}")
    made = {name: make_method(name) for name in methods}
    accuracy = {name: np.zeros((len(shots), support_sets)) for name in methods}
    with show_each_warning_once():
        for row, number in enumerate(shots):
            for seed in range(support_sets):
                episode = draw_episode(cache, number, seed)
                if len(episode.query) == 0:
                    raise ValueError(f"no clip is left to score on beside {number} shots")
                for name, method in made.items():
                    fitted = method.fit(episode.support, episode.support.labels)
                    accuracy[name][row, seed] = fitted.score(episode.query, episode.query.labels)
    return Comparison(tuple(shots), accuracy)


def _half_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy import stats

    sets = values.shape[1]
    if sets < 2:
        return np.full(len(values), np.nan)
    return np.asarray(stats.sem(values, axis=1) * stats.t.ppf(0.975, sets - 1))
