"""One few-shot episode: which clips of a cache are support, and which may be queried."""

from __future__ import annotations

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
        If no clip is labelled, or a class has fewer clips than shots (the classes are named).
    """
    usable = cache.done[cache.labels[cache.done] != ""]
    if len(usable) == 0:
        raise ValueError(f"no clip in {cache.path} has both a label and head vectors")
    splits = np.char.lower(cache.splits[usable])
    for_support = np.isin(splits, list(SUPPORT_SPLITS))
    if for_support.any():
        for_query = np.isin(splits, list(QUERY_SPLITS))
        pool, rest = usable[for_support], usable[for_query if for_query.any() else ~for_support]
    else:
        pool, rest = usable, usable[:0]
    groups = _groups(cache)
    if shots is None:
        support = pool
    else:
        drawn, others = draw_support(cache.labels[pool], shots, groups=groups[pool], seed=seed)
        support = pool[drawn]
        if not for_support.any():
            rest = pool[others]
    query = rest[~np.isin(groups[rest], groups[support])]
    return Episode(cache[support], cache[query])


def rows_apart(cache: HeadCache, names: list[str] | None) -> HeadRows:
    """Choose the labelled clips of a cache that share neither name nor group with given support clips.

    Raises
    ------
    ValueError
        If none is left.
    """
    usable = cache.done[cache.labels[cache.done] != ""]
    groups = _groups(cache)
    seen = groups[np.isin(cache.names, names or [])]
    apart = usable[~np.isin(groups[usable], seen)]
    if len(apart) == 0:
        raise ValueError(
            f"no clip in {cache.path} is left to evaluate on: each has no label, or shares a group with the support set"
        )
    return cache[apart]


def _groups(cache: HeadCache) -> NDArray[np.str_]:
    """Return the group of each clip; a clip without one is a group of its own."""
    own = np.char.add("clip ", np.arange(len(cache)).astype(str))
    return np.where(cache.groups == "", own, np.char.add("group ", cache.groups))
