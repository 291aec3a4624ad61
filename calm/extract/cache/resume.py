"""Whether a cache that was begun may be gone on with, and whether anything is left to do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.layout import DONE, PENDING
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.writer import CacheWriter
from calm.extract.media.audio import AudioError
from calm.extract.media.clip import Clip
from calm.extract.media.content import has_changed
from calm.extract.media.perceive import perceive
from calm.extract.media.video import VideoError
from calm.extract.senses import Senses


def described_as(begun: HeadCache, clips: Sequence[Clip], texts: Sequence[str], prune: bool) -> bool:
    """Tell whether a cache is of just these clips, in this order, with these descriptions.

    Raises
    ------
    ValueError
        If clips have gone (unless they may be pruned), or some that are done are asked something else: going on would
        throw rows away. The first one is named.
    """
    names_there, texts_there = begun.names, begun.texts
    same = len(clips) == len(begun) and all(
        clip.name == name and text == text_there
        for clip, text, name, text_there in zip(clips, texts, names_there, texts_there, strict=True)
    )
    if same:
        pairs = ((begun.labels, "label"), (begun.splits, "split"), (begun.groups, "group"))
        return all(
            (getattr(clip, column) or "") == known
            for there, column in pairs
            for clip, known in zip(clips, there, strict=True)
        )
    remedy = f"write to another file, or remove {begun.path} to begin anew"
    asked: dict[str, set[str]] = {}
    for clip, text in zip(clips, texts, strict=True):
        asked.setdefault(clip.name, set()).add(text)
    gone = [name for name in names_there if name not in asked]
    if gone and not prune:
        raise ValueError(
            f"{begun.path} holds {len(gone)} of its {len(begun)} clips that are not among these {len(clips)}, "
            f"{gone[0]} first: {remedy}, or prune it (prune=True, --prune)"
        )
    for name, text, status in zip(names_there, texts_there, begun.status, strict=True):
        if status == DONE and text not in asked.get(name, {text}):
            other = min(asked[name])
            raise ValueError(
                f"{begun.path} was made with another prompt: {name} was asked {text!r}, now {other!r}; {remedy}"
            )
    return False


def anything_to_try(begun: CacheWriter, clips: Sequence[Clip], texts: Sequence[str]) -> bool:
    """Tell whether clips were added or have changed, one is pending, or one that could not be read now can be.

    Clips whose files hold something else than when they were encoded are pending from here on.
    """
    by_key = {(clip.name, text): clip for clip, text in zip(clips, texts, strict=True)}
    keys = list(zip(begun.names, begun.texts, strict=True))
    there = [by_key.get(key) for key in keys]
    begun.reopen(_changed(begun, there))
    todo = begun.todo
    if by_key.keys() - set(keys) or any(begun.status[row] == PENDING and there[row] is not None for row in todo):
        return True
    unread = [clip for clip in (there[row] for row in todo) if clip is not None]
    made, senses = begun.fingerprint, begun.request.senses
    limit = made.max_seconds if np.isfinite(made.max_seconds) else None
    return any(_readable(clip, senses, made.sampling_rate, limit) for clip in unread)


def _changed(begun: CacheWriter, clips: Sequence[Clip | None]) -> NDArray[np.int64]:
    """Find the encoded clips whose files hold something else by now; ``clips`` are those of the rows."""
    encoded = np.flatnonzero((begun.status == DONE) | ~np.isnan(begun.seconds))
    known = zip(encoded.tolist(), begun.contents(encoded), strict=True)
    pairs = ((row, content, clips[row]) for row, content in known)
    changed = [row for row, was, clip in pairs if clip is not None and has_changed(was, clip.audio, clip.video)]
    return np.array(changed, dtype=np.int64)


def _readable(clip: Clip, senses: Senses, sampling_rate: int, max_seconds: float | None) -> bool:
    try:
        perceive(clip, senses, sampling_rate, max_seconds)
    except (AudioError, VideoError, OSError):  # the cache holds the reason already
        return False
    return True
