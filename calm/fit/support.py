"""Drawing k-shot support sets: seeded, stratified by class, and never with a group on both sides."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm.fit.checks import check_count


def draw_support(
    y: ArrayLike, shots: int, *, groups: ArrayLike | None = None, seed: int | np.random.Generator = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw ``shots`` clips of each class for support; the rest may be queried.

    Where groups are given (recording, speaker, fold), no group stands on both sides: see :func:`split_by_group`.
    Clips of the support's groups that were not drawn are in neither answer.

    Parameters
    ----------
    y : array-like (n,)
        Label of each clip, of any kind.
    shots : int
        Clips per class.
    groups : array-like (n,), optional
        Group of each clip.
    seed : int or numpy Generator
        The same seed draws the same clips.

    Returns
    -------
    support, query : arrays of int
        Clip indices, ascending.

    Raises
    ------
    ValueError
        If ``shots`` is below one, or a class has fewer clips than shots (the classes are named).

    Examples
    --------
    >>> support, query = draw_support(["dog", "dog", "rain", "rain", "rain"], shots=1, seed=3)
    >>> len(support), len(query)
    (2, 3)
    """
    y = np.asarray(y)
    rng = np.random.default_rng(seed)
    check_count("shots", shots)
    classes, counts = np.unique(y, return_counts=True)
    short = counts < shots
    if short.any():
        named = ", ".join(f"{c} ({n})" for c, n in zip(classes[short], counts[short], strict=True))
        raise ValueError(f"fewer clips than {shots} shots in: {named}")
    # Without groups, each clip is a group of its own.
    taken = split_by_group(y, np.arange(len(y)) if groups is None else groups, shots, rng)
    drawn = [rng.choice(np.flatnonzero(taken & (y == c)), shots, replace=False) for c in classes]
    return np.sort(np.concatenate(drawn)), np.flatnonzero(~taken)


def split_by_group(y: ArrayLike, groups: ArrayLike, shots: int, seed: int | np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole groups, in random order, until they hold ``shots`` clips of every class.

    A group is taken only if it brings a class that is still short, so that as many groups as possible are left to
    be queried.

    Parameters
    ----------
    y, groups : array-like (n,)
    shots : int
    seed : int or numpy Generator

    Returns
    -------
    array of bool (n,)
        True for every clip of a chosen group. All groups may have been needed: then nothing is left to query.

    Examples
    --------
    >>> split_by_group([0, 1, 0, 1], ["a", "a", "b", "b"], shots=1, seed=0)
    array([ True,  True, False, False])
    """
    rng = np.random.default_rng(seed)
    _, class_of = np.unique(np.asarray(y), return_inverse=True)
    names, group_of = np.unique(np.asarray(groups), return_inverse=True)
    turn = np.empty(len(names), dtype=np.int64)  # when each group is looked at
    turn[rng.permutation(len(names))] = np.arange(len(names))
    chosen = _choose_turns(class_of, turn[group_of], shots)
    return chosen[turn[group_of]]


def _choose_turns(class_of: NDArray[np.int64], turn_of: NDArray[np.int64], shots: int) -> NDArray[np.bool_]:
    """Go through groups in turn, and choose those that bring a class which is still short.

    Groups that bring no such class are never looked at: the next one of each class is kept in a heap.

    Parameters
    ----------
    class_of, turn_of : arrays of int (n,)
        Of each clip: its class, and the turn of its group.
    shots : int

    Returns
    -------
    array of bool (groups,)
        By turn.
    """
    by_class, by_turn = np.lexsort((turn_of, class_of)), np.argsort(turn_of, kind="stable")
    turns = np.split(turn_of[by_class], np.cumsum(np.bincount(class_of))[:-1])  # of each class, ascending
    ends = np.cumsum(np.bincount(turn_of))
    missing, chosen = np.full(len(turns), shots), np.zeros(len(ends), dtype=bool)
    coming = [(int(of_class[0]), c) for c, of_class in enumerate(turns)]
    heapq.heapify(coming)
    while coming:
        turn, c = heapq.heappop(coming)
        if missing[c] > 0 and not chosen[turn]:
            chosen[turn] = True
            np.subtract.at(missing, class_of[by_turn[ends[turn - 1] if turn else 0 : ends[turn]]], 1)
        after = int(np.searchsorted(turns[c], turn, side="right"))
        if missing[c] > 0 and after < len(turns[c]):
            heapq.heappush(coming, (int(turns[c][after]), c))
    return chosen
