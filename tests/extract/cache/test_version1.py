"""Caches of format version 1 can still be read, fitted and evaluated, but no longer written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calm import CALMClassifier, draw_episode
from calm.cli import app
from calm.evaluation.episodes import held_out_rows
from calm.extract import CacheWriter, HeadCache
from tests.extract.cache.files import CLIPS, write_version_1, write_version_2


def test_both_format_versions_have_the_same_content(tmp_path: Path) -> None:
    old, new = write_version_1(tmp_path / "1.h5"), write_version_2(tmp_path / "2.h5")
    with HeadCache(old) as one, HeadCache(new) as two:
        assert (one.version, two.version) == (1, 2)
        for name in ("shape", "storage", "request", "fingerprint", "made_with", "failures"):
            assert getattr(one, name) == getattr(two, name)
        for name in ("names", "labels", "splits", "groups", "texts", "prompts", "prompt_codes", "status", "done"):
            assert getattr(one, name).tolist() == getattr(two, name).tolist()
            assert getattr(one, name).dtype == getattr(two, name).dtype
        np.testing.assert_array_equal(np.asarray(one[:7]), np.asarray(two[:7]))
        assert one[2:5].groups.tolist() == two[2:5].groups.tolist() == ["g2", "g3", "g0"]
        assert one[:3].digests == [None] * 3
        assert one.first_duplicate.tolist() == list(range(8))
        assert draw_episode(one, 1, 3).support.rows.tolist() == draw_episode(two, 1, 3).support.rows.tolist()


def test_an_old_cache_is_fitted_on_and_apart_by_names(tmp_path: Path) -> None:
    path = write_version_1(tmp_path / "heads.h5", [*CLIPS[:7], CLIPS[0]])
    with HeadCache(path) as cache:
        rows = cache[:2]
        fitted = CALMClassifier().fit(rows, rows.labels)
        assert fitted.support_digests_ == [None, None]
        apart = held_out_rows(cache, fitted.support_names_, [], fitted.support_digests_)
        assert apart.rows.rows.tolist() == [2, 3, 6]  # 4 and 5 share their groups
        assert (apart.support, apart.groups) == (2, 2)
        assert len(fitted.predict(cache[:7])) == 7


def test_the_commands_take_an_old_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_version_1(Path("heads.h5"))
    for command in (["info"], ["fit", "--shots", "2"], ["evaluate"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.stderr


def test_a_version_1_cache_is_not_resumed(tmp_path: Path) -> None:
    path = write_version_1(tmp_path / "heads.h5")
    before = path.read_bytes()
    with pytest.raises(
        ValueError,
        match=f"{path} has format version 1, which can be read but no longer written: extract again to another file",
    ):
        CacheWriter(path)
    assert path.read_bytes() == before
