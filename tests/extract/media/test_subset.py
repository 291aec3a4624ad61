"""Parts of a data set: one split, and a few clips of each class that still have several groups."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.extract import Clip
from calm.extract.media.subset import limit_clips, select_split

NAMES = st.sampled_from([None, "a", "b", "c"])
CLIPS = st.lists(st.tuples(NAMES, NAMES, NAMES), max_size=40).map(
    lambda rows: [Clip("", str(i), label, split, group) for i, (label, split, group) in enumerate(rows)]
)


@settings(deadline=None)
@given(CLIPS, st.integers(1, 10))
def test_each_class_of_each_split_keeps_at_most_this_many_clips_in_order(clips: list[Clip], limit: int) -> None:
    taken = limit_clips(clips, limit)
    assert [int(clip.name) for clip in taken] == sorted(int(clip.name) for clip in taken)
    expected = Counter((clip.split, clip.label) for clip in clips)
    assert Counter((clip.split, clip.label) for clip in taken) == {key: min(n, limit) for key, n in expected.items()}


@settings(deadline=None)
@given(CLIPS, st.integers(1, 10))
def test_a_larger_limit_only_adds_clips(clips: list[Clip], limit: int) -> None:
    assert {clip.name for clip in limit_clips(clips, limit)} <= {clip.name for clip in limit_clips(clips, limit + 1)}


@settings(deadline=None)
@given(CLIPS, st.integers(1, 10))
def test_as_many_groups_as_possible_are_kept(clips: list[Clip], limit: int) -> None:
    clips = [clip for clip in clips if clip.group is not None]
    groups, taken = Counter[tuple[str | None, str | None]](), Counter[tuple[str | None, str | None]]()
    for counts, some in ((groups, clips), (taken, limit_clips(clips, limit))):
        counts.update((split, label) for split, label, _ in {(clip.split, clip.label, clip.group) for clip in some})
    assert taken == {key: min(n, limit) for key, n in groups.items()}


def test_clips_without_groups_are_the_first_ones() -> None:
    clips = [Clip("", f"{label}{i}", label) for label in ("dog", "rain") for i in range(3)]
    assert [clip.name for clip in limit_clips(clips, 2)] == ["dog0", "dog1", "rain0", "rain1"]


def test_an_unknown_split_is_an_error_that_lists_the_splits() -> None:
    clips = [Clip("", "1", split="train"), Clip("", "2"), Clip("", "3", split="test")]
    assert [clip.name for clip in select_split(clips, "test")] == ["3"]
    with pytest.raises(ValueError, match="^no clip has the split 'dev': the splits are train, test$"):
        select_split(clips, "dev")
    with pytest.raises(ValueError, match="^no clip has the split 'dev': the clips have no splits$"):
        select_split(clips[1:2], "dev")
