"""Take a part of a list of clips: one split, or a few clips of each class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from calm.extract.media.clip import Clip


def select_split(clips: Sequence[Clip], split: str) -> list[Clip]:
    """Return the clips of one split.

    Raises
    ------
    ValueError
        If no clip has this split; the message lists the splits that there are.

    Examples
    --------
    >>> clips = [Clip("a.wav", "a", split="train"), Clip("b.wav", "b", split="test")]
    >>> [clip.name for clip in select_split(clips, "test")]
    ['b']
    """
    selected = [clip for clip in clips if clip.split == split]
    if not selected:
        splits = list(dict.fromkeys(clip.split for clip in clips if clip.split is not None))
        known = f"the splits are {', '.join(splits)}" if splits else "the clips have no splits"
        raise ValueError(f"no clip has the split {split!r}: {known}")
    return selected


def limit_clips(clips: Sequence[Clip], per_class: int) -> list[Clip]:
    """Return the first clips of each class in each split, in their order, spread over the groups.

    The clips of a class are taken from its groups in turn, so that groups can still be held out. A larger limit adds
    clips and drops none. Clips without a label count as one class.

    Examples
    --------
    >>> clips = [Clip("", f"{group}{i}", "dog", group=group) for group in "ab" for i in range(3)]
    >>> [clip.name for clip in limit_clips(clips, 3)]
    ['a0', 'a1', 'b0']
    """
    clips_in_group: Counter[tuple[str | None, str | None, str | None]] = Counter()
    turns_by_class: dict[tuple[str | None, str | None], list[tuple[int, int]]] = defaultdict(list)
    for position, clip in enumerate(clips):
        group = (clip.split, clip.label, clip.group)
        turn = 0 if clip.group is None else clips_in_group[group]  # a clip without a group is a group of its own
        turns_by_class[clip.split, clip.label].append((turn, position))
        clips_in_group[group] += 1
    taken = (position for turns in turns_by_class.values() for _, position in sorted(turns)[:per_class])
    return [clips[position] for position in sorted(taken)]
