"""One few-shot episode: which clips of a cache are support, and which may be queried."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.extract import HeadCache, HeadRows
from calm.fit import draw_support

#: Names of splits that clips may be learnt from, and that they may be tested on.
SUPPORT_SPLITS = frozenset({"train", "training", "support"})
QUERY_SPLITS = frozenset({"test", "testing", "eval", "evaluation", "query"})

#: Clips that are looked at at a time.
_BLOCK = 2**16


@dataclass(frozen=True)
class Episode:
    """A support set, and the clips left to query."""

    support: HeadRows
    query: HeadRows


@dataclass(frozen=True)
class HeldOutRows:
    """The clips to test a classifier on, and how many of the others that have head vectors are left out, and why."""

    rows: HeadRows
    support: int  #: they are the support set's
    groups: int  #: they share a group with one of its clips
    splits: int  #: they are not of the split to test on
    unlabelled: int


def draw_episode(cache: HeadCache, shots: int | None = None, seed: int = 0) -> Episode:
    """Draw a support set from the labelled clips of a cache.

    - Where the clips have splits, support comes from ``train`` and queries from ``test``; where there is no
      ``test``, from all that is not ``train``.
    - Where they have groups, no group stands on both sides.
    - No clip stands on both sides under two names.
    - Clips without label or head vectors are left out.

    Parameters
    ----------
    cache : HeadCache
    shots : int, default=None
        Clips per class; all that there are unless given.
    seed : int, default=0
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
    support, rest = _sides(cache)
    if len(support) == 0:
        raise ValueError(f"every clip in {cache.path} is in a test split: none may be support")
    groups, alike = _groups(cache), cache.first_duplicate
    if shots is not None:
        drawn, _ = draw_support(cache[support].labels, shots, groups=groups[support], seed=seed)
        support = support[drawn]
    shared = np.isin(groups[rest], groups[support]) | np.isin(alike[rest], alike[support])
    return Episode(cache[support], cache[rest[~shared]])


def held_out_rows(
    cache: HeadCache,
    names: Sequence[str] | None,
    groups: Collection[str] | None,
    digests: Sequence[str | None] | None = None,
) -> HeldOutRows:
    """Choose the clips of a cache to test a classifier on, by the rules of an episode.

    Parameters
    ----------
    cache : HeadCache
    names, digests : sequences, optional
        Of the support clips. A clip is one of them by its digest; by its name, where a digest is not known.
    groups : collection of str, optional
        Of the support clips. Whatever shares a group with them is left out.

    Returns
    -------
    HeldOutRows

    Raises
    ------
    ValueError
        If nothing is left.
    """
    _, rest = _sides(cache)
    own = _groups(cache)
    support = _support_rows(cache, names or (), digests or [None] * len(names or ()))
    shares = np.isin(own, own[support]) | _among(cache, "group", {*(groups or ())} - {""})
    labelled, tested = np.zeros(len(cache), dtype=bool), np.zeros(len(cache), dtype=bool)
    labelled[labelled_rows(cache).rows] = tested[rest] = True
    is_support = np.zeros(len(cache), dtype=bool)
    is_support[support] = True
    reasons = [is_support, shares, labelled & ~tested, ~labelled]
    first = np.select(reasons, [*range(len(reasons))], default=len(reasons))[cache.done]
    counts = np.bincount(first, minlength=len(reasons) + 1).tolist()
    if counts[-1] == 0:
        raise ValueError(
            f"no clip in {cache.path} is left to evaluate on: each one, or its group, is in the support set"
        )
    return HeldOutRows(cache[cache.done[first == len(reasons)]], *counts[:-1])


def labelled_rows(cache: HeadCache) -> HeadRows:
    """Choose all clips that have both a label and head vectors.

    Raises
    ------
    ValueError
        If there are none.
    """
    usable = cache.done[~_among(cache, "label", {""})[cache.done]]
    if len(usable) == 0:
        raise ValueError(f"no clip in {cache.path} has both a label and head vectors")
    return cache[usable]


def _sides(cache: HeadCache) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the clips that may be support, and those that may be queried, by their splits; all, if there are none."""
    rows = labelled_rows(cache).rows
    splits = cache.categorical("split")
    by_lower = {text: text.lower() for text in splits.texts[np.unique(splits.codes[rows])]}
    train, test = (
        _among(cache, "split", {text for text, lower in by_lower.items() if lower in known})[rows]
        for known in (SUPPORT_SPLITS, QUERY_SPLITS)
    )
    named = {*by_lower.values()} - {""}
    if named and not (train.any() or test.any()):
        raise ValueError(
            f"{cache.path} has the splits {', '.join(sorted(named))}: call them train and test, or extract without a "
            f"split column"
        )
    support = train if train.any() else ~test
    query = test if test.any() or train.all() else ~train
    return rows[support], rows[query if query.any() else support]


def _among(cache: HeadCache, column: str, texts: Collection[str]) -> NDArray[np.bool_]:
    """Tell of each clip whether its text in a column is one of these, (clips,)."""
    categorical = cache.categorical(column)
    return np.array([text in texts for text in categorical.texts], dtype=bool)[categorical.codes]


def _support_rows(cache: HeadCache, names: Sequence[str], digests: Sequence[str | None]) -> NDArray[np.int64]:
    """Find a classifier's support clips in a cache, among all its clips."""
    known = {digest for digest in digests if digest}
    nameless = {name for name, digest in zip(names, digests, strict=True) if not digest}
    every_name = set(names)
    found: list[int] = []
    for start in range(0, len(cache), _BLOCK):
        here = cache[start : start + _BLOCK]
        for row, (name, digest) in enumerate(zip(here.names, here.digests, strict=True), start):
            if digest in known or name in (nameless if digest else every_name):
                found.append(row)
    return np.array(found, dtype=np.int64)


def _groups(cache: HeadCache) -> NDArray[np.int64]:
    """Give each clip the number of its group; one without is a group of its own, with those of the same content.

    Numbers are in the order of the texts that they stand for, so that a seed always draws the same clips.
    """
    categorical, rows = cache.categorical("group"), np.arange(len(cache))
    digits = np.searchsorted(10 ** np.arange(1, 19), rows, side="right")
    place = np.empty_like(rows)
    place[np.lexsort((digits, rows * 10 ** (digits.max() - digits)))] = rows
    of_group = len(rows) + np.argsort(np.argsort(categorical.texts))
    return np.where(_among(cache, "group", {""}), place[cache.first_duplicate], of_group[categorical.codes])
