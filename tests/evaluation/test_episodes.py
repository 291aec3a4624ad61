"""The support set and the queries of an episode never share a clip, a group or a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calm import (
    CALMClassifier,
    HeadCache,
    draw_episode,
)
from calm.evaluation.episodes import held_out_rows
from calm.extract import Clip, Fingerprint, Request, create_cache
from tests.tasks import cache_of, task, write_all


def test_an_episode_keeps_groups_apart_and_leaves_out_what_cannot_be_used(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    clips = [Clip("", f"{i}", label if i else None, group=f"g{i // 4}") for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    write_all(path, X[:23].reshape(23, 3, 2, 8))  # the last one stays pending
    with HeadCache(path) as cache:
        episode = draw_episode(cache, shots=2, seed=1)
        assert np.unique(episode.support.labels, return_counts=True)[1].tolist() == [2, 2, 2]
        sides = [{cache.groups[row] for row in side.rows} for side in (episode.support, episode.query)]
        assert sides[0] and sides[1] and not sides[0] & sides[1]
        assert not {0, 23} & {*episode.support.rows, *episode.query.rows}


def test_an_episode_takes_support_from_train_and_queries_from_test(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    splits = ["Train", "test", "validation"]
    clips = [Clip("", f"{i}", label, split=splits[i // 3 % 3]) for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    write_all(path, X.reshape(24, 3, 2, 8))
    with HeadCache(path) as cache:
        for shots, support in ((2, 6), (None, 9)):
            episode = draw_episode(cache, shots)
            assert len(episode.support) == support
            assert set(cache.splits[episode.support.rows]) == {"Train"}
            assert set(cache.splits[episode.query.rows]) == {"test"}


def test_without_splits_or_shots_every_clip_is_support(tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        episode = draw_episode(cache)
        assert (len(episode.support), len(episode.query)) == (24, 0)


def test_a_cache_without_labels_gives_no_episode(tmp_path: Path) -> None:
    X, _ = task()
    with (
        cache_of(tmp_path / "heads.h5", X, np.array([""] * 24)) as cache,
        pytest.raises(ValueError, match="no clip in"),
    ):
        draw_episode(cache, 1)


def test_evaluation_keeps_to_the_test_split_and_apart_from_the_support(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    splits = ["train", "test", "validation"]
    clips = [Clip("", f"{i}", label, split=splits[i // 3 % 3], group=f"g{i % 12}") for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    write_all(path, X.reshape(24, 3, 2, 8))
    with HeadCache(path) as cache:
        episode = draw_episode(cache, 1)
        clf = CALMClassifier().fit(episode.support, episode.support.labels)
        assert (
            held_out_rows(cache, clf.support_names_, clf.support_groups_).rows.rows.tolist()
            == episode.query.rows.tolist()
        )
        assert set(cache.splits[episode.query.rows]) == {"test"}
        # If the support clips are in another cache, their groups are compared by name.
        assert not set(held_out_rows(cache, [], ["g4"]).rows.groups) & {"g4"}
        with pytest.raises(ValueError, match="every test clip is in the support set or shares a group with it"):
            held_out_rows(cache, [], [f"g{i}" for i in range(12)])


def test_splits_of_unknown_names_are_refused(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    clips = [Clip("", f"{i}", label, split=("tr", "te")[i % 2]) for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    write_all(path, X.reshape(24, 3, 2, 8))
    with (
        HeadCache(path) as cache,
        pytest.raises(ValueError, match="has the splits te, tr: rename them"),
    ):
        draw_episode(cache, 1)


def test_a_cache_of_test_clips_only_gives_no_support(tmp_path: Path) -> None:
    path = tmp_path / "heads.h5"
    fingerprint = Fingerprint("a", "b", "c", "d", 1, 1, 1.0)
    create_cache(path, [Clip("", "1", "dog", "test")], ["Hm?"], (1, 1, 1), Request("t"), fingerprint)
    write_all(path, np.ones((1, 1, 1, 1), np.float32))
    with HeadCache(path) as cache:
        with pytest.raises(ValueError, match="is in a test split: no clip can be in the support set"):
            draw_episode(cache, 1)
        assert len(held_out_rows(cache, [], []).rows) == 1
