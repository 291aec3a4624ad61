"""Files that are listed several times: repeats are dropped, and contradictions are refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

from calm.extract.media.clip import Clip
from calm.extract.media.file import identify_file


def drop_repeats(clips: Sequence[Clip], source: Path, name_entry: Callable[[int], str]) -> list[Clip]:
    """Keep one clip of each file and question, and check that all clips of a file agree.

    The same file may be listed by an absolute path, by a relative path, and by links. Its clips must have the same
    split and group. If they also have the same question and options, they must have the same label. Such clips are
    repeats: the first is kept. Clips of one file with different questions are all kept.

    Parameters
    ----------
    clips : sequence of Clip
        Clips of files.
    source : path
        The manifest or folder, for messages.
    name_entry : callable
        Name of the clip with a given index, for messages.

    Returns
    -------
    list of Clip
        The clips without repeats, in their order.

    Raises
    ------
    ValueError
        If two clips of one file contradict each other; the message names both.

    Warns
    -----
    UserWarning
        If there are repeats; the message names the first one.
    """
    keys = [_identify_clip(clip) for clip in clips]
    if len(set(keys)) == len(keys):
        return list(clips)
    first_of_file: dict[Hashable, int] = {}
    first_of_question: dict[Hashable, int] = {}
    repeats: dict[int, int] = {}
    for i, (clip, key) in enumerate(zip(clips, keys, strict=True)):
        question_key = (key, clip.question, clip.options)
        pairs = (
            (first_of_file.setdefault(key, i), ("split", "group")),
            (first_of_question.setdefault(question_key, i), ("label",)),
        )
        for first, fields in pairs:
            for field in fields:
                values = (getattr(clips[first], field), getattr(clip, field))
                if values[0] != values[1]:
                    raise ValueError(
                        f"{source}: {name_entry(first)} and {name_entry(i)} are the same file, but with a different "
                        f"{field}: {_format_value(values[0])} and {_format_value(values[1])}; remove one of them"
                    )
        if first_of_question[question_key] != i:
            repeats[i] = first_of_question[question_key]
    if repeats:
        i, first = next(iter(repeats.items()))
        warnings.warn(
            f"{source}: {len(repeats)} of {len(clips)} clips repeat a file and are left out, such as {name_entry(i)}, "
            f"which is the same file as {name_entry(first)}",
            stacklevel=2,
        )
    return [clip for i, clip in enumerate(clips) if i not in repeats]


def _identify_clip(clip: Clip) -> Hashable:
    """Return what identifies the files of a clip."""
    return tuple(identify_file(file) if isinstance(file, str | Path) else None for file in (clip.audio, clip.video))


def _format_value(value: str | None) -> str:
    return "none" if value is None else repr(value)
