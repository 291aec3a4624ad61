"""Drawing k-shot support sets: seeded, stratified by class, and never with a group on both sides."""

from __future__ import annotations

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
    clips = np.zeros((len(names), class_of.max() + 1), dtype=np.int64)  # of each group and class
    np.add.at(clips, (group_of, class_of), 1)
    missing = np.full(clips.shape[1], shots)
    chosen = np.zeros(len(names), dtype=bool)
    for group in rng.permutation(len(names)):
        if (missing[clips[group] > 0] > 0).any():
            chosen[group] = True
            missing -= clips[group]
    return chosen[group_of]
