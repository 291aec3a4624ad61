"""What tells the rows of a cache apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

Key = tuple[str, str, int]


def clip_keys(names: Iterable[str], texts: Iterable[str]) -> list[Key]:
    """Return a key for each clip: its name, what is asked beside it, and how many before it have both.

    A manifest may list one file twice with one question, beside other videos for instance.

    Examples
    --------
    >>> clip_keys(["a.wav", "b.wav", "a.wav"], ["What?"] * 3)
    [('a.wav', 'What?', 0), ('b.wav', 'What?', 0), ('a.wav', 'What?', 1)]
    """
    before: Counter[tuple[str, str]] = Counter()
    keys = []
    for pair in zip(names, texts, strict=True):
        keys.append((*pair, before[pair]))
        before[pair] += 1
    return keys
