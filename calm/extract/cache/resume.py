"""Whether a cache that was begun may be gone on with, what has changed since, and whether anything is left to do.

All of these ask, and none changes the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calm.extract.cache.clip_keys import Key, clip_keys
from calm.extract.cache.layout import DONE, PENDING
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.writer import CacheWriter
from calm.extract.media.audio import AudioError
from calm.extract.media.clip import Clip
from calm.extract.media.content import current_content
from calm.extract.media.decode import decode_clip, sources_of
from calm.extract.media.video import VideoError
from calm.extract.media_options import MediaOptions


@dataclass(frozen=True)
class Changes:
    """What has become of clips' files since the clips were encoded."""

    rows: NDArray[np.int64]  #: of clips whose files hold something else, ascending
    touched: NDArray[np.int64]  #: of clips whose files hold the same and have another time, ascending
    times: NDArray[np.int64]  #: these times, in nanoseconds


def matches_clips(begun: HeadCache, clips: Sequence[Clip], texts: Sequence[str]) -> bool:
    """Tell whether a cache is of just these clips, in this order, with these descriptions."""
    same = len(clips) == len(begun) and all(
        clip.name == name and text == text_there
        for clip, text, name, text_there in zip(clips, texts, begun.names, begun.texts, strict=True)
    )
    if not same:
        return False
    pairs = ((begun.labels, "label"), (begun.splits, "split"), (begun.groups, "group"))
    return all(
        (getattr(clip, column) or "") == known
        for there, column in pairs
        for clip, known in zip(clips, there, strict=True)
    )


def check_resumable(begun: HeadCache, clips: Sequence[Clip], texts: Sequence[str], prune: bool) -> None:
    """Refuse clips with which going on would throw away rows.

    Raises
    ------
    ValueError
        If clips have gone (unless they may be pruned), or some that are done are asked something else. The first one
        is named.
    """
    names_there, texts_there = begun.names, begun.texts
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


def find_changes(begun: HeadCache, clips: Sequence[Clip], texts: Sequence[str]) -> Changes:
    """Compare the files of encoded clips with what they held then: by size and time, and where those moved by digest.

    What is compared of a clip is what the model is given of it, by the media options of the cache's request.
    """
    by_key, keys = _by_key(clips, texts), clip_keys(begun.names, begun.texts)
    encoded = np.flatnonzero((begun.status == DONE) | ~np.isnan(begun.seconds))
    changed: list[int] = []
    touched: dict[int, int] = {}
    for row, known in zip(encoded.tolist(), begun.contents(encoded), strict=True):
        clip = by_key.get(keys[row])
        now = known if clip is None else current_content(known, *sources_of(clip, begun.request.media_options))
        if now.digest != known.digest:
            changed.append(row)
        elif now != known:
            touched[row] = now.modified
    return Changes(_numbers(changed), _numbers(touched), _numbers(touched.values()))


def has_pending_work(begun: CacheWriter, clips: Sequence[Clip], texts: Sequence[str], changes: Changes) -> bool:
    """Tell whether clips were added or have changed, one is pending, or one that could not be read now can be."""
    by_key, keys = _by_key(clips, texts), clip_keys(begun.names, begun.texts)
    if len(changes.rows) or by_key.keys() - set(keys):
        return True
    left = [row for row in begun.pending.tolist() if keys[row] in by_key]
    if any(begun.status[row] == PENDING for row in left):
        return True
    made, media_options = begun.fingerprint, begun.request.media_options
    limit = made.max_seconds if np.isfinite(made.max_seconds) else None
    return any(_readable(by_key[keys[row]], media_options, made.sampling_rate, limit) for row in left)


def _by_key(clips: Sequence[Clip], texts: Sequence[str]) -> dict[Key, Clip]:
    """Find clips by what tells rows apart."""
    return dict(zip(clip_keys((clip.name for clip in clips), texts), clips, strict=True))


def _numbers(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(values), dtype=np.int64)


def _readable(clip: Clip, media_options: MediaOptions, sampling_rate: int, max_seconds: float | None) -> bool:
    try:
        decode_clip(clip, media_options, sampling_rate, max_seconds)
    except (AudioError, VideoError, OSError):  # the cache holds the reason already
        return False
    return True
