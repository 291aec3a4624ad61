"""Few-shot episodes: which clips of a head cache form the support set, and which are queries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.extract import HeadCache, HeadRows
from calm.fit import draw_support

#: Names of splits whose clips may be in the support set, and of splits whose clips are queries; in lower case.
SUPPORT_SPLITS = frozenset({"train", "training", "support"})
QUERY_SPLITS = frozenset({"test", "testing", "eval", "evaluation", "query"})

#: Number of clips whose names and digests are read at a time.
_BLOCK = 2**16


@dataclass(frozen=True)
class Episode:
    """Support set and queries of one few-shot task.

    :func:`calm.draw_episode` returns it. Classifiers accept ``support`` and ``query`` as ``X``; the head vectors are
    read from the file when they are needed.

    Attributes
    ----------
    support : HeadRows
        Rows of the head cache to fit on.
    query : HeadRows
        Rows of the head cache to predict. It may be empty.

    See Also
    --------
    draw_episode : Draw an episode from a head cache.
    compare : Compare several methods over many episodes.
    HeadCache : The file that the rows belong to.

    Examples
    --------
    >>> import tempfile
    >>> from calm import CALMClassifier, HeadCache, Request, draw_episode, extract_to_cache, find_clips
    >>> from calm.demo import write_sounds
    >>> from calm.sounds import make_sounds
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     waves, labels = make_sounds(n_classes=2, n_per_class=6, seconds=0.5)
    ...     clips = find_clips(write_sounds(f"{folder}/sounds", waves, labels))
    ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny", device="cpu"))
    ...     with HeadCache(f"{folder}/heads.h5") as cache:
    ...         episode = draw_episode(cache, shots=3)
    ...         clf = CALMClassifier().fit(episode.support, episode.support.labels)
    ...         predictions = clf.predict(episode.query)
    >>> len(episode.support), predictions.shape
    (6, (6,))
    """

    support: HeadRows
    query: HeadRows


@dataclass(frozen=True)
class HeldOutRows:
    """Test clips of a classifier, and counts of the other clips by the first reason why each is left out.

    Only clips that have head vectors are counted.

    Attributes
    ----------
    rows : HeadRows
        Clips to test on.
    support : int
        Number of clips that are in the support set.
    groups : int
        Number of clips that share a group with a support clip.
    splits : int
        Number of clips that are not in the test split.
    unlabelled : int
        Number of clips without a label.
    """

    rows: HeadRows
    support: int
    groups: int
    splits: int
    unlabelled: int


def draw_episode(cache: HeadCache, shots: int | None = None, seed: int = 0) -> Episode:
    """Draw a support set and its queries from the labelled clips of a head cache.

    The rules prevent leakage from the support set to the queries:

    - If the clips have splits, the support set comes from ``train`` and the queries from ``test``. Without a ``test``
      split, the queries come from all splits other than ``train``.
    - If the clips have groups, no group is in both the support set and the queries.
    - Clips with the same content are never in both, even under different names.
    - Clips without a label or without head vectors are ignored.

    Parameters
    ----------
    cache : HeadCache
        Head vectors of labelled clips.
    shots : int, default=None
        Number of support clips per class. None means all clips that may be in the support set.
    seed : int, default=0
        Random seed. The same seed draws the same clips.

    Returns
    -------
    Episode
        Support set and queries. The queries are empty if no clips are left.

    Raises
    ------
    ValueError
        If no clip has both a label and head vectors, a class has fewer clips than ``shots``, all clips are in a test
        split, or no split has a name that means training or testing.

    See Also
    --------
    compare : Compare several methods over many episodes.
    evaluate : Score the predictions for the queries.
    calm.fit.draw_support : Draw a support set from an array of labels.

    Examples
    --------
    >>> import tempfile
    >>> from calm import HeadCache, Request, draw_episode, extract_to_cache, find_clips
    >>> from calm.demo import write_sounds
    >>> from calm.sounds import make_sounds
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     waves, labels = make_sounds(n_classes=2, n_per_class=6, seconds=0.5)
    ...     clips = find_clips(write_sounds(f"{folder}/sounds", waves, labels))
    ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny", device="cpu"))
    ...     with HeadCache(f"{folder}/heads.h5") as cache:
    ...         episode = draw_episode(cache, shots=2, seed=1)
    ...         sorted(episode.support.labels) == sorted([*set(labels)] * 2)
    True
    >>> len(episode.support), len(episode.query)
    (4, 8)
    """
    support, query = _split_rows(cache)
    if len(support) == 0:
        raise ValueError(f"every labelled clip of {cache.path} is in a test split: no clip can be in the support set")
    groups, duplicate_of = _compute_group_numbers(cache), cache.first_duplicate
    if shots is not None:
        drawn, _ = draw_support(cache[support].labels, shots, groups=groups[support], seed=seed)
        support = support[drawn]
    is_shared = np.isin(groups[query], groups[support]) | np.isin(duplicate_of[query], duplicate_of[support])
    return Episode(cache[support], cache[query[~is_shared]])


def find_most_shots(cache: HeadCache, seed: int = 0) -> int | None:
    """Find the largest number of shots that leaves every class a query clip, by binary search.

    Parameters
    ----------
    cache : HeadCache
        Head vectors of labelled clips.
    seed : int, default=0
        Random seed of the support set. With groups of several classes, the result depends on it, and a larger number
        may exist.

    Returns
    -------
    int or None
        Number of support clips per class. None if even one shot leaves a class without queries, there are fewer than
        two classes, or no clips may be in the support set.
    """
    if len({*cache.labels[cache.done].tolist()} - {""}) < 2:
        return None
    try:
        support, _ = _split_rows(cache)
    except ValueError:  # no split has a name that means training or testing
        return None
    classes, counts = np.unique(cache[support].labels, return_counts=True)

    def has_queries(shots: int) -> bool:
        """Return whether every class of the support set has queries."""
        return bool(np.isin(classes, draw_episode(cache, shots, seed).query.labels).all())

    upper = int(counts.min()) if len(counts) else 0
    most = bisect_left(range(1, upper + 1), True, key=lambda shots: not has_queries(shots))
    return most or None


def held_out_rows(
    cache: HeadCache,
    names: Sequence[str] | None,
    groups: Collection[str] | None,
    digests: Sequence[str | None] | None = None,
) -> HeldOutRows:
    """Select the clips of a cache to test a classifier on, by the rules of :func:`calm.draw_episode`.

    Parameters
    ----------
    cache : HeadCache
        Head vectors of labelled clips.
    names : sequence of str, or None
        Names of the support clips.
    groups : collection of str, or None
        Groups of the support clips. Clips of these groups are left out.
    digests : sequence of str or None, default=None
        Content digests of the support clips, one for each name. A clip without a digest is compared by its name.

    Returns
    -------
    HeldOutRows
        Clips to test on, and how many others are left out for which reason.

    Raises
    ------
    ValueError
        If no clips are left.
    """
    _, query = _split_rows(cache)
    group_numbers = _compute_group_numbers(cache)
    support = _find_support_rows(cache, names or (), digests or [None] * len(names or ()))
    shares_group = np.isin(group_numbers, group_numbers[support])
    shares_group |= _has_text(cache, "group", {*(groups or ())} - {""})
    is_labelled, is_query = np.zeros(len(cache), dtype=bool), np.zeros(len(cache), dtype=bool)
    is_labelled[labelled_rows(cache).rows] = is_query[query] = True
    is_support = np.zeros(len(cache), dtype=bool)
    is_support[support] = True
    reasons = [is_support, shares_group, is_labelled & ~is_query, ~is_labelled]  # in the order of HeldOutRows
    first_reason = np.select(reasons, [*range(len(reasons))], default=len(reasons))[cache.done]
    counts = np.bincount(first_reason, minlength=len(reasons) + 1).tolist()
    if counts[-1] == 0:
        raise ValueError(
            f"no clips of {cache.path} are left to evaluate on: every test clip is in the support set or shares a "
            "group with it (use --all to include these clips)"
        )
    return HeldOutRows(cache[cache.done[first_reason == len(reasons)]], *counts[:-1])


def labelled_rows(cache: HeadCache) -> HeadRows:
    """Select all clips that have both a label and head vectors.

    Raises
    ------
    ValueError
        If there are none.
    """
    usable = cache.done[~_has_text(cache, "label", {""})[cache.done]]
    if len(usable) == 0:
        raise ValueError(
            f"no clip in {cache.path} has both a label and head vectors: extract clips from one sub-folder per class, "
            "or from a manifest with labels"
        )
    return cache[usable]


def _split_rows(cache: HeadCache) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows for the support set and the rows for the queries; without splits, both are all rows."""
    rows = labelled_rows(cache).rows
    splits = cache.categorical("split")
    lower_case = {text: text.lower() for text in splits.texts[np.unique(splits.codes[rows])]}
    is_train, is_test = (
        _has_text(cache, "split", {text for text, lower in lower_case.items() if lower in split_names})[rows]
        for split_names in (SUPPORT_SPLITS, QUERY_SPLITS)
    )
    named_splits = {*lower_case.values()} - {""}
    if named_splits and not (is_train.any() or is_test.any()):
        raise ValueError(
            f"{cache.path} has the splits {', '.join(sorted(named_splits))}: rename them to train and test, or "
            f"extract without a split column"
        )
    support = is_train if is_train.any() else ~is_test
    query = is_test if is_test.any() or is_train.all() else ~is_train
    return rows[support], rows[query if query.any() else support]


def _has_text(cache: HeadCache, column: str, texts: Collection[str]) -> NDArray[np.bool_]:
    """Return for each clip whether its text in a column is one of the given texts, (clips,)."""
    categorical = cache.categorical(column)
    return np.array([text in texts for text in categorical.texts], dtype=bool)[categorical.codes]


def _find_support_rows(cache: HeadCache, names: Sequence[str], digests: Sequence[str | None]) -> NDArray[np.int64]:
    """Find the support clips of a classifier in a cache, by digest, or by name where one of the digests is unknown."""
    known_digests = {digest for digest in digests if digest}
    names_without_digest = {name for name, digest in zip(names, digests, strict=True) if not digest}
    all_names = set(names)
    support: list[int] = []
    for start in range(0, len(cache), _BLOCK):
        block = cache[start : start + _BLOCK]
        for row, (name, digest) in enumerate(zip(block.names, block.digests, strict=True), start):
            if digest in known_digests or name in (names_without_digest if digest else all_names):
                support.append(row)
    return np.array(support, dtype=np.int64)


def _compute_group_numbers(cache: HeadCache) -> NDArray[np.int64]:
    """Return the group of each clip as a number, (clips,); clips without a group are grouped by their content.

    The order of the numbers decides which clips a seed draws. It must not depend on the order of the table of groups
    in the file, so named groups are numbered in the order of their texts. Clips without a group are numbered in the
    order of their row numbers as texts ("0", "1", "10", "11", ..., "2"), before the named groups.
    """
    categorical, rows = cache.categorical("group"), np.arange(len(cache))
    n_digits = np.searchsorted(10 ** np.arange(1, 19), rows, side="right")
    rank = np.empty_like(rows)
    rank[np.lexsort((n_digits, rows * 10 ** (n_digits.max() - n_digits)))] = rows
    group_rank = len(rows) + np.argsort(np.argsort(categorical.texts))
    has_no_group = _has_text(cache, "group", {""})
    return np.where(has_no_group, rank[cache.first_duplicate], group_rank[categorical.codes])
