"""The largest number of shots that leaves every class a query."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm import draw_episode
from calm.evaluation.episodes import find_most_shots
from tests.evaluation.test_duplicates import cache_of_contents


def labels(*counts: int) -> np.ndarray:
    return np.repeat(["dog", "rain", "rooster"][: len(counts)], counts)


@pytest.mark.parametrize(
    ("counts", "splits", "expected"),
    [
        ((8, 5), None, 4),
        ((1, 9), None, None),
        ((9,), None, None),
        ((4, 4), ["train", "train", "test", "test"] * 2, 2),
        ((4, 4), ["train", "test", "test", "test", "train", "train", "train", "test"], 1),
        ((4, 4), ["test"] * 8, None),
        ((4, 4), ["tr", "te"] * 4, None),
        ((4, 4), ["train"] * 8, 3),
    ],
)
def test_shots_follow_the_splits(
    tmp_path: Path, counts: tuple[int, ...], splits: list[str] | None, expected: int | None
) -> None:
    y = labels(*counts)
    with cache_of_contents(tmp_path / "heads.h5", y, range(len(y)), splits=splits) as cache:
        assert find_most_shots(cache) == expected


def test_a_group_is_never_on_both_sides(tmp_path: Path) -> None:
    y = labels(6, 6)
    groups = ["a", "a", "a", "b", "b", "b"] * 2
    with cache_of_contents(tmp_path / "heads.h5", y, range(12), groups) as cache:
        assert find_most_shots(cache) == 3


@settings(deadline=None, max_examples=30)
@given(
    contents=st.lists(st.integers(0, 15), min_size=18, max_size=18),
    groups=st.none() | st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=18, max_size=18),
    train=st.none() | st.integers(3, 15),
)
def test_the_suggested_shots_leave_every_class_a_query(
    tmp_path_factory: pytest.TempPathFactory, contents: list[int], groups: list[str] | None, train: int | None
) -> None:
    y = np.array(["dog", "rain", "rooster"])[np.arange(18) % 3]
    splits = None if train is None else ["train" if i < train else "test" for i in range(18)]
    with cache_of_contents(tmp_path_factory.mktemp("c") / "heads.h5", y, contents, groups, splits) as cache:
        most = find_most_shots(cache)
        if most is None:
            assert {*draw_episode(cache, 1).query.labels} < {*y}
        else:
            assert {*draw_episode(cache, most).query.labels} == {*y}
