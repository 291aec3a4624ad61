"""Random k-shot support sets that are stratified by class and do not share groups with the queries."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm.fit.checks import check_count


def draw_support(
    y: ArrayLike, shots: int, *, groups: ArrayLike | None = None, seed: int | np.random.Generator = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a support set with the same number of clips of each class, and return the other clips as queries.

    With groups, the support set and the queries have no group in common; see :func:`calm.fit.split_by_group`. Clips
    that share a group with the support set but were not drawn are in neither result.

    Parameters
    ----------
    y : array-like of shape (n_clips,)
        Label of each clip, of any type.
    shots : int
        Number of support clips for each class, at least 1.
    groups : array-like of shape (n_clips,), default=None
        Group of each clip, for example its recording, speaker or fold. None treats every clip as its own group.
    seed : int or numpy.random.Generator, default=0
        Random seed. The same seed draws the same clips.

    Returns
    -------
    support, query : arrays of int
        Clip indices in ascending order.

    Raises
    ------
    ValueError
        If ``shots`` is below 1, or a class has fewer clips than ``shots``.

    See Also
    --------
    calm.fit.split_by_group : Choose the groups of the support set.
    calm.draw_episode : Draw a support set and queries from a head cache.
    sklearn.model_selection.StratifiedGroupKFold : Split into folds without common groups.

    Examples
    --------
    >>> from calm.fit import draw_support
    >>> support, query = draw_support(["dog", "dog", "rain", "rain", "rain"], shots=1, seed=3)
    >>> len(support), len(query)
    (2, 3)
    """
    y = np.asarray(y)
    rng = np.random.default_rng(seed)
    check_count("shots", shots)
    classes, counts = np.unique(y, return_counts=True)
    is_short = counts < shots
    if is_short.any():
        listed = ", ".join(f"{c} ({n})" for c, n in zip(classes[is_short], counts[is_short], strict=True))
        raise ValueError(f"fewer clips than {shots} shots in: {listed}; use fewer shots or add clips")
    is_candidate = split_by_group(y, np.arange(len(y)) if groups is None else groups, shots, rng)
    drawn = [rng.choice(np.flatnonzero(is_candidate & (y == c)), shots, replace=False) for c in classes]
    return np.sort(np.concatenate(drawn)), np.flatnonzero(~is_candidate)


def split_by_group(y: ArrayLike, groups: ArrayLike, shots: int, seed: int | np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole groups at random until they hold enough clips of every class for a support set.

    Groups are visited in random order. A group is chosen only if it has a clip of a class that still lacks clips, so
    that many groups are left for the queries.

    Parameters
    ----------
    y : array-like of shape (n_clips,)
        Label of each clip, of any type.
    groups : array-like of shape (n_clips,)
        Group of each clip.
    shots : int
        Number of support clips for each class.
    seed : int or numpy.random.Generator
        Random seed of the order of groups.

    Returns
    -------
    array of bool of shape (n_clips,)
        True for every clip of a chosen group. If all groups are chosen, no clip is left for queries.

    See Also
    --------
    calm.fit.draw_support : Draw the support clips from the chosen groups.
    sklearn.model_selection.GroupShuffleSplit : Split groups without regard to classes.

    Examples
    --------
    >>> from calm.fit import split_by_group
    >>> split_by_group([0, 1, 0, 1], ["a", "a", "b", "b"], shots=1, seed=0)
    array([ True,  True, False, False])
    """
    rng = np.random.default_rng(seed)
    _, class_of_clip = np.unique(np.asarray(y), return_inverse=True)
    names, group_of_clip = np.unique(np.asarray(groups), return_inverse=True)
    position = np.empty(len(names), dtype=np.int64)  # of each group in the random order
    position[rng.permutation(len(names))] = np.arange(len(names))
    is_chosen = _choose_groups(class_of_clip, position[group_of_clip], shots)
    return is_chosen[position[group_of_clip]]


def _choose_groups(classes: NDArray[np.int64], groups: NDArray[np.int64], shots: int) -> NDArray[np.bool_]:
    """Visit groups in ascending order and choose those with a clip of a class that still lacks clips.

    A heap holds the next group of each class that lacks clips. Groups without such a class are never visited, which
    keeps the search fast when there are many groups.

    Parameters
    ----------
    classes, groups : arrays of int of shape (n_clips,)
        Class number and group number of each clip.
    shots : int
        Number of support clips for each class.

    Returns
    -------
    array of bool of shape (n_groups,)
        Mask of the chosen groups.
    """
    by_class, by_group = np.lexsort((groups, classes)), np.argsort(groups, kind="stable")
    groups_of_class = np.split(groups[by_class], np.cumsum(np.bincount(classes))[:-1])  # ascending in each class
    group_ends = np.cumsum(np.bincount(groups))
    missing, is_chosen = np.full(len(groups_of_class), shots), np.zeros(len(group_ends), dtype=bool)
    next_groups = [(int(of_class[0]), c) for c, of_class in enumerate(groups_of_class)]
    heapq.heapify(next_groups)
    while next_groups:
        group, c = heapq.heappop(next_groups)
        if missing[c] > 0 and not is_chosen[group]:
            is_chosen[group] = True
            members = by_group[group_ends[group - 1] if group else 0 : group_ends[group]]
            np.subtract.at(missing, classes[members], 1)
        following = int(np.searchsorted(groups_of_class[c], group, side="right"))
        if missing[c] > 0 and following < len(groups_of_class[c]):
            heapq.heappush(next_groups, (int(groups_of_class[c][following]), c))
    return is_chosen
