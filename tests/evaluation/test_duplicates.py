"""Support set and queries are kept apart by the content of clips, not by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calm import CALMClassifier, HeadCache, draw_episode, load
from calm.evaluation.episodes import held_out_rows
from calm.extract import Clip, Fingerprint, Request, create_cache
from tests.tasks import task, write_all

FINGERPRINT = Fingerprint("a", "b", "c", "d", 1, 1, 1.0)


def cache_of_contents(
    path: Path,
    y: NDArray,
    contents: Sequence[int],
    groups: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> HeadCache:
    """Write a head cache whose clips have the given contents; equal numbers are duplicate clips."""
    X, _ = task(len(y))
    clips = [
        Clip("", f"{i}.wav", label, splits[i] if splits else None, groups[i] if groups else None)
        for i, label in enumerate(y)
    ]
    create_cache(path, clips, ["Hm?"] * len(y), (3, 2, 8), Request("tiny"), FINGERPRINT)
    write_all(path, X.reshape(len(y), 3, 2, 8), [str(content).encode() for content in contents])
    return HeadCache(path)


@settings(deadline=None, max_examples=40)
@given(
    contents=st.lists(st.integers(0, 12), min_size=24, max_size=24),
    groups=st.none() | st.lists(st.sampled_from(["", "a", "b", "c", "d", "e"]), min_size=24, max_size=24),
    split=st.booleans(),
    seed=st.integers(0, 5),
)
def test_one_clip_under_two_names_never_stands_on_both_sides(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[int],
    groups: list[str] | None,
    split: bool,
    seed: int,
) -> None:
    y = np.array(["dog", "rain", "rooster"])[np.arange(24) % 3]
    splits = ["train" if i < 15 else "test" for i in range(24)] if split else None
    with cache_of_contents(tmp_path_factory.mktemp("c") / "heads.h5", y, contents, groups, splits) as cache:
        episode = draw_episode(cache, 1, seed)
        held = [{contents[row] for row in side.rows} for side in (episode.support, episode.query)]
        assert held[0] and not held[0] & held[1]
        named = [{*side.groups} - {""} for side in (episode.support, episode.query)]
        assert not named[0] & named[1]
        assert np.unique(episode.support.labels, return_counts=True)[1].tolist() == [1, 1, 1]


def test_duplicates_of_other_labels_are_one_group(tmp_path: Path) -> None:
    y = np.array(["dog", "rain"] * 4)
    with cache_of_contents(tmp_path / "heads.h5", y, [0, 0, 1, 1, 2, 2, 3, 3]) as cache:
        for seed in range(5):
            episode = draw_episode(cache, 1, seed)
            assert len(episode.query) in (4, 6)  # whole pairs


def test_clips_of_another_data_set_with_the_same_names_are_all_evaluated_on(tmp_path: Path) -> None:
    _, y = task(12)
    with (
        cache_of_contents(tmp_path / "mine.h5", y, range(12)) as mine,
        cache_of_contents(tmp_path / "theirs.h5", y, [*range(100, 110), 3, 4]) as theirs,
    ):
        fitted = CALMClassifier().fit(mine[:8], mine[:8].labels)
        assert fitted.support_names_ == [f"{i}.wav" for i in range(8)]
        assert fitted.support_digests_ == mine[:8].digests and None not in mine[:8].digests
        fitted.save(tmp_path / "c.safetensors")
        fitted = load(tmp_path / "c.safetensors")
        apart = held_out_rows(theirs, fitted.support_names_, fitted.support_groups_, fitted.support_digests_)
        assert apart.rows.rows.tolist() == list(range(10))  # the last two are support clips under other names
        assert (apart.support, apart.groups, apart.splits, apart.unlabelled) == (2, 0, 0, 0)
        by_name = held_out_rows(theirs, fitted.support_names_, fitted.support_groups_)
        assert by_name.rows.rows.tolist() == [8, 9, 10, 11]  # without digests, clips are compared by name


def test_clips_of_partial_fit_are_left_out_of_an_evaluation(tmp_path: Path) -> None:
    _, y = task(12)
    with cache_of_contents(tmp_path / "heads.h5", y, range(12)) as cache:
        fitted = CALMClassifier().fit(cache[:6], cache[:6].labels).partial_fit(cache[6:9], cache[6:9].labels)
        assert fitted.support_digests_ == cache[:9].digests


def test_what_is_left_out_is_counted_by_its_first_reason(tmp_path: Path) -> None:
    y = np.array(["dog", "rain", "dog", "rain", "dog", "rain", "", "rain"])
    splits = ["train", "train", "train", "test", "test", "test", "test", "train"]
    groups = ["a", "", "", "a", "b", "c", "d", ""]
    with cache_of_contents(tmp_path / "heads.h5", y, range(8), groups, splits) as cache:
        support = cache[:2]
        apart = held_out_rows(cache, support.names.tolist(), ["c"], support.digests)
        assert apart.rows.rows.tolist() == [4]
        assert (apart.support, apart.groups, apart.splits, apart.unlabelled) == (2, 2, 2, 1)
