"""Why clips failed, told by name: the one way in which reports, caches and predictions tell it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from calm.extract.media.clip import Clip
from calm.extract.result import ClipResult


def failures_by_name(failed: Iterable[tuple[int, str, str, str]]) -> dict[str, str]:
    """Tell why each clip failed, by name; as many as have failed.

    Where several of one name have, by name and what was asked beside it; where that is one text too, by the row.

    Parameters
    ----------
    failed : iterable of (row, name, text, reason)
        Of each clip that failed: its number in the list, its name, what the model was asked beside it, and why.

    Examples
    --------
    >>> failures_by_name([(0, "a.wav", "Who?", "no samples in it"), (1, "b.wav", "Who?", "no samples in it")])
    {'a.wav': 'no samples in it', 'b.wav': 'no samples in it'}
    >>> list(failures_by_name([(4, "a.wav", "Who?", "too long"), (7, "a.wav", "Why?", "too long")]))
    ["a.wav (asked 'Who?')", "a.wav (asked 'Why?')"]
    """
    listed = list(failed)
    times = Counter(name for _, name, _, _ in listed)
    found: dict[str, str] = {}
    for row, name, text, reason in listed:
        key = name if times[name] == 1 else f"{name} (asked {text!r})"
        found[f"{name} (row {row})" if key in found else key] = reason
    return found


def failures_of(failed: Iterable[ClipResult], clips: Sequence[Clip], texts: Sequence[str]) -> dict[str, str]:
    """Tell by name why some of a list of clips failed, each of which was asked a text; see :func:`failures_by_name`."""
    return failures_by_name((one.row, clips[one.row].name, texts[one.row], one.reason) for one in failed)
