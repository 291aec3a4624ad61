"""Whether a cache that was begun may be gone on with, and whether there is anything left to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from calm.extract.audio import AudioError, read_waveform
from calm.extract.cache import FAILED, PENDING, HeadCache
from calm.extract.clips import Clip
from calm.extract.request import Fingerprint, Request


def described_as(begun: HeadCache, clips: Sequence[Clip], texts: Sequence[str]) -> bool:
    """Tell whether a cache is of just these clips, in this order, with these descriptions.

    Raises
    ------
    ValueError
        If clips have gone, or are asked something else: going on would throw rows away. The first one is named.
    """
    if [clip.name for clip in clips] == begun.names.tolist() and list(texts) == begun.texts.tolist():
        pairs = ((begun.labels, "label"), (begun.splits, "split"), (begun.groups, "group"))
        return all(there.tolist() == [getattr(clip, c) or "" for clip in clips] for there, c in pairs)
    remedy = f"write to another file, or remove {begun.path} to begin anew"
    asked: dict[str, set[str]] = {}
    for clip, text in zip(clips, texts, strict=True):
        asked.setdefault(clip.name, set()).add(text)
    gone = [name for name in begun.names.tolist() if name not in asked]
    if gone:
        raise ValueError(
            f"{begun.path} holds clips that are not among these {len(clips)}: {gone[0]} is one of {len(gone)}; {remedy}"
        )
    for name, text in zip(begun.names.tolist(), begun.texts.tolist(), strict=True):
        if text not in asked[name]:
            other = sorted(asked[name])[0]
            raise ValueError(
                f"{begun.path} was made with another prompt: {name} was asked {text!r}, now {other!r}; {remedy}"
            )
    return False


def check_same_request(begun: HeadCache, request: Request, storage: str) -> None:
    """Refuse another way of extracting, as far as it shows before the model is loaded; fingerprints tell the rest.

    Raises
    ------
    ValueError
        Naming all that differs.
    """
    told_by_the_model = {"model", "revision", "dtype", "max_seconds"}
    pairs = {
        f.name: (getattr(begun.request, f.name), getattr(request, f.name))
        for f in fields(Request)
        if f.name not in told_by_the_model
    }
    pairs["storage"] = (begun.storage, storage)
    differences = [f"{name} ({old!r} there, {new!r} here)" for name, (old, new) in pairs.items() if old != new]
    if differences:
        raise ValueError(
            f"{begun.path} was made in another way, with a different {', '.join(differences)}: write to another file, "
            f"or remove it to begin anew"
        )


def anything_to_try(begun: HeadCache, clips: Sequence[Clip]) -> bool:
    """Tell whether a clip is pending, or one that failed can now be read."""
    if (begun.status == PENDING).any():
        return True
    return any(_readable(clips[row], begun.fingerprint) for row in np.flatnonzero(begun.status == FAILED).tolist())


def _readable(clip: Clip, fingerprint: Fingerprint) -> bool:
    try:
        read_waveform(clip.audio, fingerprint.sampling_rate, min(fingerprint.max_seconds, 1.0))
    except (AudioError, OSError):  # the cache holds the reason already
        return False
    return True
