"""Whether a cache that was begun may be gone on with, and whether anything is left to do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calm.extract.cache.reader import PENDING, HeadCache
from calm.extract.cache.writer import CacheWriter
from calm.extract.media.audio import AudioError
from calm.extract.media.clip import Clip
from calm.extract.media.perceive import perceive
from calm.extract.media.video import VideoError
from calm.extract.senses import Senses


def described_as(begun: HeadCache, clips: Sequence[Clip], texts: Sequence[str], prune: bool) -> bool:
    """Tell whether a cache is of just these clips, in this order, with these descriptions.

    Raises
    ------
    ValueError
        If clips have gone (unless they may be pruned) or are asked something else: going on would throw rows away.
        The first one is named.
    """
    names_there, texts_there = begun.names.tolist(), begun.texts.tolist()
    if [clip.name for clip in clips] == names_there and list(texts) == texts_there:
        pairs = ((begun.labels, "label"), (begun.splits, "split"), (begun.groups, "group"))
        return all(there.tolist() == [getattr(clip, c) or "" for clip in clips] for there, c in pairs)
    remedy = f"write to another file, or remove {begun.path} to begin anew"
    asked: dict[str, set[str]] = {}
    for clip, text in zip(clips, texts, strict=True):
        asked.setdefault(clip.name, set()).add(text)
    gone = [name for name in names_there if name not in asked]
    if gone and not prune:
        raise ValueError(
            f"{begun.path} holds {len(gone)} of its {len(begun)} clips that are not among these {len(clips)}, "
            f"{gone[0]} first: {remedy}, or prune it"
        )
    for name, text in zip(names_there, texts_there, strict=True):
        if text not in asked.get(name, {text}):
            other = min(asked[name])
            raise ValueError(
                f"{begun.path} was made with another prompt: {name} was asked {text!r}, now {other!r}; {remedy}"
            )
    return False


def anything_to_try(begun: CacheWriter, clips: Sequence[Clip], texts: Sequence[str]) -> bool:
    """Tell whether clips were added, one is pending, or one that could not be read now can be."""
    by_key = {(clip.name, text): clip for clip, text in zip(clips, texts, strict=True)}
    keys = list(zip(begun.names.tolist(), begun.texts.tolist(), strict=True))
    if by_key.keys() - set(keys) or any(begun.status[row] == PENDING and keys[row] in by_key for row in begun.todo):
        return True
    unread = [by_key[keys[row]] for row in begun.todo if keys[row] in by_key]
    made, senses = begun.fingerprint, begun.request.senses
    limit = made.max_seconds if np.isfinite(made.max_seconds) else None
    return any(_readable(clip, senses, made.sampling_rate, limit) for clip in unread)


def _readable(clip: Clip, senses: Senses, sampling_rate: int, max_seconds: float | None) -> bool:
    try:
        perceive(clip, senses, sampling_rate, max_seconds)
    except (AudioError, VideoError, OSError):  # the cache holds the reason already
        return False
    return True
