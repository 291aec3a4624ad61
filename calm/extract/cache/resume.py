"""Decide whether an existing cache can be resumed, which clips have changed, and whether there is work left.

No function here changes the cache.
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
from calm.extract.media.decode import decode_clip, select_sources
from calm.extract.media.video import VideoError
from calm.extract.media_options import MediaOptions


@dataclass(frozen=True)
class Changes:
    """Clips whose files changed since they were extracted."""

    rows: NDArray[np.int64]  #: clips whose content changed, ascending
    touched: NDArray[np.int64]  #: clips with the same content and a new modification time, ascending
    times: NDArray[np.int64]  #: the new modification times in nanoseconds, one per touched clip


def matches_clips(cache: HeadCache, clips: Sequence[Clip], texts: Sequence[str]) -> bool:
    """Return whether a cache has exactly these clips, in this order, with the same prompts and metadata."""
    has_same_clips = len(clips) == len(cache) and all(
        clip.name == cached_name and text == cached_text
        for clip, text, cached_name, cached_text in zip(clips, texts, cache.names, cache.texts, strict=True)
    )
    if not has_same_clips:
        return False
    pairs = ((cache.labels, "label"), (cache.splits, "split"), (cache.groups, "group"))
    return all(
        (getattr(clip, column) or "") == cached_value
        for cached_values, column in pairs
        for clip, cached_value in zip(clips, cached_values, strict=True)
    )


def check_resumable(cache: HeadCache, clips: Sequence[Clip], texts: Sequence[str], prune: bool) -> None:
    """Reject a list of clips for which resuming would discard rows of the cache.

    Raises
    ------
    ValueError
        If clips of the cache are missing from the list and ``prune`` is False, or a clip that is done now has another
        prompt text. The message names the first such clip.
    """
    cached_names, cached_texts = cache.names, cache.texts
    start_over = f"write to another file, or delete {cache.path} to start over"
    texts_by_name: dict[str, set[str]] = {}
    for clip, text in zip(clips, texts, strict=True):
        texts_by_name.setdefault(clip.name, set()).add(text)
    missing = [name for name in cached_names if name not in texts_by_name]
    if missing and not prune:
        raise ValueError(
            f"{len(missing)} of the {len(cache)} clips in {cache.path} are missing from the {len(clips)} clips given, "
            f"such as {missing[0]}: run again with --prune (in Python prune=True) to drop them, "
            f"or write to another file"
        )
    for name, cached_text, status in zip(cached_names, cached_texts, cache.status, strict=True):
        if status == DONE and cached_text not in texts_by_name.get(name, {cached_text}):
            new_text = min(texts_by_name[name])
            raise ValueError(
                f"{cache.path} was extracted with another prompt: "
                f"the prompt of {name} is {cached_text!r} in the cache and {new_text!r} in this run; {start_over}"
            )


def find_changes(cache: HeadCache, clips: Sequence[Clip], texts: Sequence[str]) -> Changes:
    """Find clips whose files changed: by size and modification time first, and by digest where these differ.

    Only the files that the model needs are compared: audio, video or both, as the request of the cache says.
    """
    clip_of, keys = _index_by_key(clips, texts), clip_keys(cache.names, cache.texts)
    extracted = np.flatnonzero((cache.status == DONE) | ~np.isnan(cache.seconds))
    changed: list[int] = []
    touched: dict[int, int] = {}
    for row, known in zip(extracted.tolist(), cache.contents(extracted), strict=True):
        clip = clip_of.get(keys[row])
        now = known if clip is None else current_content(known, *select_sources(clip, cache.request.media_options))
        if now.digest != known.digest:
            changed.append(row)
        elif now != known:
            touched[row] = now.modified
    return Changes(_to_array(changed), _to_array(touched), _to_array(touched.values()))


def has_pending_work(cache: CacheWriter, clips: Sequence[Clip], texts: Sequence[str], changes: Changes) -> bool:
    """Return whether clips are new, changed or pending, or a clip that could not be decoded can be decoded now."""
    clip_of, keys = _index_by_key(clips, texts), clip_keys(cache.names, cache.texts)
    if len(changes.rows) or clip_of.keys() - set(keys):
        return True
    pending = [row for row in cache.pending.tolist() if keys[row] in clip_of]
    if any(cache.status[row] == PENDING for row in pending):
        return True
    fingerprint, media_options = cache.fingerprint, cache.request.media_options
    max_seconds = fingerprint.max_seconds if np.isfinite(fingerprint.max_seconds) else None
    return any(
        _is_decodable(clip_of[keys[row]], media_options, fingerprint.sampling_rate, max_seconds) for row in pending
    )


def _index_by_key(clips: Sequence[Clip], texts: Sequence[str]) -> dict[Key, Clip]:
    """Return the clips by their row keys."""
    return dict(zip(clip_keys((clip.name for clip in clips), texts), clips, strict=True))


def _to_array(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(values), dtype=np.int64)


def _is_decodable(clip: Clip, media_options: MediaOptions, sampling_rate: int, max_seconds: float | None) -> bool:
    try:
        decode_clip(clip, media_options, sampling_rate, max_seconds)
    except (AudioError, VideoError, OSError):  # the cache already has the reason
        return False
    return True
