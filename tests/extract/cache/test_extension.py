"""Extending a cache keeps its rows, its lock and its path, and never loses the old file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calm.extract import CacheWriter, Clip, HeadCache, extend_cache
from calm.extract.media.content import UNKNOWN
from calm.extract.result import ClipResult
from tests.extract.cache.files import (
    THREE_CLIPS,
    fill_cache,
    make_cache,
    make_result,
    run_in_other_process,
    vectors_of_rows,
)


def test_a_longer_list_keeps_rows_failures_and_the_lock(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    longer = [Clip("0.wav", "0.wav"), *reversed(THREE_CLIPS)]
    with CacheWriter(path) as old:
        old.write([ClipResult(1, reason="gone")])
        with extend_cache(old, longer, ["Hm?"] * 4) as new:
            assert new.status.tolist() == [0, 0, 2, 1]
            second = run_in_other_process(
                "import sys; from calm.extract import CacheWriter; CacheWriter(sys.argv[1])", path
            )
            assert "is being written by another process" in second.stderr
            new.write([make_result(0)])
    with HeadCache(path) as cache:
        assert cache.names.tolist() == ["0.wav", "c.wav", "räin/b.wav", "a.wav"]
        assert cache.failures == {"räin/b.wav": "gone"}
        np.testing.assert_array_equal(cache.read(np.array([3])), vectors_of_rows(np.array([0])).reshape(1, 6, 4))
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_an_extension_that_is_killed_leaves_the_old_cache(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    killed = run_in_other_process(
        """
        import os, signal, sys
        from calm.extract import CacheWriter, extend_cache
        from tests.extract.cache.files import THREE_CLIPS
        CacheWriter.copy_rows_from = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        with CacheWriter(sys.argv[1]) as old:
            extend_cache(old, THREE_CLIPS * 2, ["Hm?"] * 6)
        """,
        path,
    )
    assert killed.returncode == -9
    with HeadCache(path) as cache:
        assert (len(cache), cache.done.tolist()) == (3, [0])
    with CacheWriter(path) as old, extend_cache(old, THREE_CLIPS * 2, ["Hm?"] * 6) as new:
        assert len(new) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_a_link_to_a_cache_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    make_cache(tmp_path / "scratch/heads.h5")
    (tmp_path / "heads.h5").symlink_to("scratch/heads.h5")
    with CacheWriter(tmp_path / "heads.h5") as old, extend_cache(old, THREE_CLIPS * 2, ["Hm?"] * 6):
        pass
    assert (tmp_path / "heads.h5").is_symlink()
    with HeadCache(tmp_path / "scratch/heads.h5") as cache:
        assert len(cache) == 6


def test_rows_of_clips_that_have_changed_are_left_out_of_the_new_file(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0, 1, 2])
    with CacheWriter(path) as old, extend_cache(old, THREE_CLIPS, ["Hm?"] * 3, without=np.array([1])) as new:
        assert (new.done.tolist(), new.pending.tolist()) == ([0, 2], [1])
        assert np.isnan(new.seconds[1]) and list(new.contents([1])) == [UNKNOWN]


def test_extending_moves_many_rows_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calm.extract.cache.writer._COPY_BYTES", 100)  # two rows at a time
    clips = [Clip("", str(i)) for i in range(20)]
    path = fill_cache(make_cache(tmp_path / "heads.h5", clips), [*range(0, 20, 3), *range(1, 20, 3)])
    order = np.random.default_rng(0).permutation(20)
    with CacheWriter(path) as old, extend_cache(old, [clips[i] for i in order], ["Hm?"] * 20) as new:
        assert new.done.tolist() == np.flatnonzero(order % 3 < 2).tolist()
        np.testing.assert_array_equal(np.asarray(new[new.done]), vectors_of_rows(order[new.done]))
