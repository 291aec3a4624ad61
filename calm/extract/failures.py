"""Why clips failed, by name: shared by reports, caches and predictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from calm.extract.media.clip import Clip
from calm.extract.result import ClipResult


def failures_by_name(failed: Iterable[tuple[int, str, str, str]]) -> dict[str, str]:
    """Return the reason of each failed clip, with one entry for each clip.

    The keys are names of clips. If several failed clips have the same name, the key includes the prompt text; if
    these are the same too, the key includes the row.

    Parameters
    ----------
    failed : iterable of (row, name, text, reason)
        Index, name, prompt text and reason of each failed clip.

    Returns
    -------
    dict of str to str
        Reason by name.

    Examples
    --------
    >>> failures_by_name([(0, "a.wav", "Who?", "no samples in it"), (1, "b.wav", "Who?", "no samples in it")])
    {'a.wav': 'no samples in it', 'b.wav': 'no samples in it'}
    >>> list(failures_by_name([(4, "a.wav", "Who?", "too long"), (7, "a.wav", "Why?", "too long")]))
    ["a.wav (asked 'Who?')", "a.wav (asked 'Why?')"]
    """
    listed = list(failed)
    name_counts = Counter(name for _, name, _, _ in listed)
    reasons: dict[str, str] = {}
    for row, name, text, reason in listed:
        key = name if name_counts[name] == 1 else f"{name} (asked {text!r})"
        reasons[f"{name} (row {row})" if key in reasons else key] = reason
    return reasons


def describe_failures(failed: Iterable[ClipResult], clips: Sequence[Clip], texts: Sequence[str]) -> dict[str, str]:
    """Return the reasons of failed results by name, as :func:`failures_by_name` does, for clips and their prompts."""
    return failures_by_name((result.row, clips[result.row].name, texts[result.row], result.reason) for result in failed)
