"""Whether a cache that was begun may be gone on with, and whether there is anything left to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from calm.extract.audio import AudioError, read_waveform
from calm.extract.cache import FAILED, PENDING, HeadCache
from calm.extract.clips import Clip
from calm.extract.request import Fingerprint, Request


def check_same_clips(begun: HeadCache, clips: Sequence[Clip], texts: Sequence[str]) -> None:
    """Refuse other clips, or the same ones described or asked otherwise.

    Raises
    ------
    ValueError
        Naming the first clip that differs.
    """
    here = {"name": [clip.name for clip in clips], "text": list(texts)}
    here |= {c: [getattr(clip, c) or "" for clip in clips] for c in ("label", "split", "group")}
    there = {"name": begun.names, "text": begun.texts}
    there |= {"label": begun.labels, "split": begun.splits, "group": begun.groups}
    remedy = f"write to another file, or remove {begun.path} to begin anew"
    if set(here["name"]) != set(there["name"]) or len(clips) != len(begun):
        added = sorted(set(here["name"]) - set(there["name"]))
        gone = sorted(set(there["name"]) - set(here["name"]))
        examples = "".join(f"; {what}: {names[0]}" for what, names in (("new", added), ("gone", gone)) if names)
        raise ValueError(
            f"{begun.path} was made from other clips ({len(begun)} there, {len(clips)} here{examples}): {remedy}"
        )
    for what in here:
        differs = np.flatnonzero(np.asarray(here[what]) != np.asarray(there[what]))
        if len(differs):
            i = int(differs[0])
            raise ValueError(
                f"{begun.path} was made with another {what} for {len(differs)} of {len(clips)} clips, "
                f"{clips[i].name} first ({str(there[what][i])!r} there, {here[what][i]!r} here): {remedy}"
            )


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
