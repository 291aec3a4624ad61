"""One few-shot episode: which clips of a cache are support, and which may be queried."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.extract import HeadCache, HeadRows
from calm.fit import draw_support

#: Names of splits that clips may be learnt from, and that they may be tested on.
SUPPORT_SPLITS = frozenset({"train", "training", "support"})
QUERY_SPLITS = frozenset({"test", "testing", "eval", "evaluation", "query"})


@dataclass(frozen=True)
class Episode:
    """A support set, and the clips left to query."""

    support: HeadRows
    query: HeadRows


def draw_episode(cache: HeadCache, shots: int | None = None, seed: int = 0) -> Episode:
    """Draw a support set from the labelled clips of a cache.

    - Where the clips have splits, support comes from ``train`` and queries from ``test``; where there is no
      ``test``, from all that is not ``train``.
    - Where they have groups, no group stands on both sides.
    - Clips without label or head vectors are left out.

    Parameters
    ----------
    cache : HeadCache
    shots : int, optional
        Clips per class; all that there are unless given.
    seed : int
        The same seed draws the same clips.

    Returns
    -------
    Episode
        ``query`` may be empty.

    Raises
    ------
    ValueError
        If no clip is labelled, a class has fewer clips than shots (the classes are named), or splits have names that
        do not tell what is for support.
    """
    pool, rest = _sides(cache)
    if len(pool) == 0:
        raise ValueError(f"every clip in {cache.path} is in a test split: none may be support")
    support = pool
    if shots is not None:
        support = pool[draw_support(cache.labels[pool], shots, groups=_groups(cache)[pool], seed=seed)[0]]
    apart = _apart(cache, rest, cache.names[support], cache.groups[support])
    return Episode(cache[support], cache[apart])


def rows_apart(cache: HeadCache, names: Collection[str] | None, groups: Collection[str] | None) -> HeadRows:
    """Choose the clips of a cache to test a classifier on, by the rules of an episode.

    Parameters
    ----------
    cache : HeadCache
    names, groups : collections of str, optional
        Of the support clips. Whatever shares a name or a group with them is left out.

    Raises
    ------
    ValueError
        If nothing is left.
    """
    _, rest = _sides(cache)
    apart = _apart(cache, rest, names or (), groups or ())
    if len(apart) == 0:
        raise ValueError(
            f"no clip in {cache.path} is left to evaluate on: each one, or its group, is in the support set"
        )
    return cache[apart]


def labelled_rows(cache: HeadCache) -> HeadRows:
    """Choose all clips that have both a label and head vectors.

    Raises
    ------
    ValueError
        If there are none.
    """
    usable = cache.done[cache.labels[cache.done] != ""]
    if len(usable) == 0:
        raise ValueError(f"no clip in {cache.path} has both a label and head vectors")
    return cache[usable]


def _sides(cache: HeadCache) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the clips that may be support, and those that may be queried, by their splits; all, if there are none."""
    rows = labelled_rows(cache).rows
    splits = np.char.lower(cache.splits[rows])
    train, test = np.isin(splits, list(SUPPORT_SPLITS)), np.isin(splits, list(QUERY_SPLITS))
    if (splits != "").any() and not (train.any() or test.any()):
        named = ", ".join(sorted({*splits.tolist()} - {""}))
        raise ValueError(
            f"{cache.path} has the splits {named}: call them train and test, or extract without a split column"
        )
    support = train if train.any() else ~test
    query = test if test.any() or train.all() else ~train
    return rows[support], rows[query if query.any() else support]


def _apart(
    cache: HeadCache, rows: NDArray[np.int64], names: Collection[str], groups: Collection[str]
) -> NDArray[np.int64]:
    """Leave out clips that share a name or a group with a support set."""
    own, support = _groups(cache), np.isin(cache.names, list(names))
    known = [f"group {group}" for group in groups if group]
    return rows[~np.isin(own[rows], [*own[support], *known])]


def _groups(cache: HeadCache) -> NDArray[np.str_]:
    """Return the group of each clip; a clip without one is a group of its own."""
    own = np.char.add("clip ", np.arange(len(cache)).astype(str))
    return np.where(cache.groups == "", own, np.char.add("group ", cache.groups))
