"""Caches of earlier format versions can still be read, fitted and evaluated; those of version 2 also be resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calm import CALMClassifier, draw_episode
from calm.cli import app
from calm.evaluation.episodes import held_out_rows
from calm.extract import LALM, CacheWriter, HeadCache, compute_fingerprint, create_cache, extract_to_cache, find_clips
from calm.extract.cache.layout import FORMAT_VERSION
from calm.extract.run import prompt_texts
from tests.extract.cache.files import (
    CLIPS,
    REQUEST,
    WRITERS,
    downgrade_to_version_2,
    write_current_version,
    write_version_1,
)


@pytest.mark.parametrize("version", [1, 2])
def test_an_earlier_version_has_the_same_content(tmp_path: Path, version: int) -> None:
    old, new = WRITERS[version](tmp_path / "old.h5"), write_current_version(tmp_path / "new.h5")
    with HeadCache(old) as one, HeadCache(new) as two:
        assert (one.version, two.version) == (version, FORMAT_VERSION)
        for name in ("shape", "storage", "request", "fingerprint", "made_with", "failures"):
            assert getattr(one, name) == getattr(two, name)
        for name in ("names", "labels", "splits", "groups", "texts", "prompts", "prompt_codes", "status", "done"):
            assert getattr(one, name).tolist() == getattr(two, name).tolist()
            assert getattr(one, name).dtype == getattr(two, name).dtype
        np.testing.assert_array_equal(np.asarray(one[:7]), np.asarray(two[:7]))
        assert one[2:5].groups.tolist() == two[2:5].groups.tolist() == ["g2", "g3", "g0"]
        if version == 1:
            assert one[:3].digests == [None] * 3
            assert one.first_duplicate.tolist() == list(range(8))
        assert np.isnan(one.decoded_seconds).all() and (two.decoded_seconds[:7] == 2.5).all()
        assert one.notes == two.notes == {}
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


def test_a_version_2_cache_is_resumed_as_it_is(class_folder: Callable[..., Path], tmp_path: Path, tiny: LALM) -> None:
    clips = find_clips(class_folder(2))
    path = tmp_path / "heads.h5"
    create_cache(
        path,
        clips,
        prompt_texts(clips, REQUEST.prompt),
        tiny.heads.shape,
        REQUEST,
        compute_fingerprint(tiny, REQUEST),
    )
    downgrade_to_version_2(path)
    report = extract_to_cache(clips, path, REQUEST, lalm=tiny)
    assert (report.done, report.new, report.notes) == (4, 4, {})
    new = extract_to_cache(clips, tmp_path / "new.h5", REQUEST, lalm=tiny)
    with HeadCache(path) as old_cache, HeadCache(new.path) as new_cache:
        assert (old_cache.version, new_cache.version) == (2, FORMAT_VERSION)
        np.testing.assert_array_equal(np.asarray(old_cache[:]), np.asarray(new_cache[:]))
        assert old_cache.seconds.tolist() == [0.5] * 4


def test_a_version_2_cache_with_new_clips_becomes_the_current_version(
    class_folder: Callable[..., Path], tmp_path: Path, tiny: LALM
) -> None:
    clips = find_clips(class_folder(2))
    extract_to_cache(clips[:3], tmp_path / "heads.h5", REQUEST, lalm=tiny)
    path = downgrade_to_version_2(tmp_path / "heads.h5")
    report = extract_to_cache(clips, path, REQUEST, lalm=tiny)
    assert (report.done, report.new) == (4, 1)
    with HeadCache(path) as cache:
        assert cache.version == FORMAT_VERSION
        np.testing.assert_array_equal(cache.decoded_seconds, [np.nan, np.nan, np.nan, 0.5])
        assert cache.seconds.tolist() == [0.5] * 4
