"""Keys that identify the rows of a cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Key = tuple[str, str, int]


def clip_keys(names: Iterable[str], texts: Iterable[str]) -> list[Key]:
    """Return a key for each clip: its name, its prompt text, and a running number among clips that share both.

    A manifest may list one file twice with the same question, for example with two different videos.

    Examples
    --------
    >>> clip_keys(["a.wav", "b.wav", "a.wav"], ["What?"] * 3)
    [('a.wav', 'What?', 0), ('b.wav', 'What?', 0), ('a.wav', 'What?', 1)]
    """
    counts: Counter[tuple[str, str]] = Counter()
    keys = []
    for pair in zip(names, texts, strict=True):
        keys.append((*pair, counts[pair]))
        counts[pair] += 1
    return keys
