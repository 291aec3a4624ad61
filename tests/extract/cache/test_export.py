"""Exports contain the clips of a cache: metadata, head vectors, and what is missing as missing."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from sklearn.neighbors import NearestCentroid
from typer.testing import CliRunner

from calm.cli import app
from calm.extract import CacheWriter, ClipResult, HeadCache, HeadRows
from calm.extract.cache import export
from calm.extract.cache.export import export_file
from tests.extract.cache.files import CLIPS, SHAPE, WRITERS, make_result, vectors_of, write_current_version

COLUMNS = [
    *("name", "label", "split", "group", "prompt", "status", "reason", "seconds", "decoded_seconds", "peak", "digest")
]


@pytest.fixture(params=sorted(WRITERS))
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A cache of each format version, with seven clips that are done and one that failed."""
    with HeadCache(WRITERS[request.param](tmp_path / "heads.h5")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_BLOCK_BYTES", 3 * 4 * 24)  # three clips


def check_metadata(frame: pd.DataFrame) -> None:
    assert frame["name"].tolist() == [clip.name for clip in CLIPS]
    assert frame["label"].tolist()[:7] == [clip.label for clip in CLIPS[:7]] and pd.isna(frame["label"][7])
    assert frame["group"].tolist() == [clip.group for clip in CLIPS]
    assert frame["status"].tolist() == ["done"] * 7 + ["failed"]
    assert frame["reason"].isna().tolist() == [True] * 7 + [False] and frame["reason"][7] == "gone"
    assert frame["seconds"][:7].tolist() == [2.5] * 7


def test_a_frame_has_one_row_per_clip(cache: HeadCache) -> None:
    frame = cache.to_frame()
    assert frame.columns.tolist() == COLUMNS
    check_metadata(frame)
    assert cache[[3, 1]].to_frame()["name"].tolist() == [CLIPS[3].name, CLIPS[1].name]


def test_head_vectors_are_columns_of_a_frame_if_wanted(cache: HeadCache) -> None:
    vectors = cache.to_frame(vectors=True).drop(columns=COLUMNS)
    assert vectors.columns[[0, 5, 23]].tolist() == ["l0_h0_d0", "l0_h1_d1", "l1_h2_d3"]
    np.testing.assert_array_equal(vectors[:7].to_numpy(), vectors_of(7).reshape(7, -1))
    assert vectors.iloc[7].isna().all()


def test_arrays_are_what_scikit_learn_takes(cache: HeadCache) -> None:
    X, y, groups = cache.to_numpy()
    assert X.shape == (7, *SHAPE) and groups.tolist() == [clip.group for clip in CLIPS[:7]]
    NearestCentroid().fit(X.reshape(len(X), -1), y)
    np.testing.assert_array_equal(cache[[2, 0]].to_numpy().X, vectors_of(3)[[2, 0]])
    with pytest.raises(ValueError, match="have no head vectors"):
        cache[:].to_numpy()


def test_a_dataset_has_metadata_and_head_vectors(
    cache: HeadCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    dataset = cache.to_dataset()
    assert dataset.column_names == [*COLUMNS, "heads"]
    check_metadata(dataset.remove_columns("heads").to_pandas())
    assert dataset[7]["heads"] is None
    vectors = np.array([dataset[i]["heads"] for i in range(7)])
    np.testing.assert_array_equal(vectors, vectors_of(7))


def test_a_dataset_is_made_again_after_the_cache_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    path = write_current_version(tmp_path / "heads.h5", done=3)
    for done in (3, 4):
        with HeadCache(path) as cache:
            assert [row["heads"] is not None for row in cache.to_dataset()] == [i < done for i in range(8)]
        with CacheWriter(path) as writer:
            writer.write([make_result(3)] if done == 3 else [ClipResult(4, reason="gone")])


def test_a_parquet_file_has_metadata_and_head_vectors(cache: HeadCache, tmp_path: Path) -> None:
    export_file(cache[:], tmp_path / "heads.parquet")
    frame = pd.read_parquet(tmp_path / "heads.parquet")
    assert frame.columns.tolist() == [*COLUMNS, "heads"]
    check_metadata(frame)
    np.testing.assert_array_equal(np.stack(frame["heads"][:7]), vectors_of(7).reshape(7, -1))
    assert frame["heads"][7] is None


def test_a_csv_file_has_the_metadata(cache: HeadCache, tmp_path: Path) -> None:
    export_file(cache[:], tmp_path / "heads.csv")
    frame = pd.read_csv(tmp_path / "heads.csv")
    assert frame.columns.tolist() == COLUMNS
    check_metadata(frame)


def test_an_npz_file_has_the_clips_with_head_vectors(cache: HeadCache, tmp_path: Path) -> None:
    export_file(cache[:], tmp_path / "heads.npz")
    with np.load(tmp_path / "heads.npz") as arrays:  # without pickles
        assert {*arrays} == {"X", "y", "groups", "splits", "names"}
        np.testing.assert_array_equal(arrays["X"], vectors_of(7))
        assert arrays["names"].tolist() == [clip.name for clip in CLIPS[:7]]
        assert arrays["splits"].tolist() == ["train"] * 7


def test_an_export_never_replaces_a_file_and_leaves_none_after_an_error(
    cache: HeadCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.csv").write_text("precious")
    with pytest.raises(FileExistsError, match=r"mine.csv exists: remove it, or name another file"):
        export_file(cache[:], tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "precious"
    monkeypatch.setattr(HeadRows, "read", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        export_file(cache[:], tmp_path / "new.npz")
    assert not list(tmp_path.glob("*new*"))


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("pandas", "pandas", lambda cache, _: cache.to_frame()),
        ("datasets", "datasets", lambda cache, _: cache.to_dataset()),
        ("pyarrow", "pandas", lambda cache, folder: export_file(cache[:], folder / "new.parquet")),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str, use: Any
) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    with HeadCache(write_current_version(tmp_path / "heads.h5")) as cache:
        monkeypatch.setattr(builtins, "__import__", refuse)
        with pytest.raises(ImportError, match=rf"pip install 'calm-audio\[{extra}\]'") as error:
            use(cache, tmp_path)
    assert "\n" not in str(error.value)


def test_the_command_exports_and_refuses_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["export", "-o", "a.csv"]).stderr == (
        "error: no such file: heads.h5 (run calm extract first)\n"
    )
    write_current_version(Path("heads.h5"))
    assert runner.invoke(app, ["export", "-o", "a.csv"]).stdout.startswith("a.csv: 8 clips, ")
    assert runner.invoke(app, ["export", "-o", "a.npz", "--json"]).stdout == '{"file": "a.npz", "clips": 7}\n'
    again = runner.invoke(app, ["export", "heads.h5", "-o", "a.csv"])
    assert (again.exit_code, again.stderr) == (1, "error: a.csv exists: remove it, or name another file\n")
    assert runner.invoke(app, ["export", "-o", "a.txt"]).exit_code == 2
    assert runner.invoke(app, ["export", "-o", "nowhere/a.csv"]).stderr == (
        "error: cannot write a.csv: folder nowhere does not exist\n"
    )


def test_no_clips_give_an_empty_frame_and_an_empty_dataset(cache: HeadCache) -> None:
    no_clips = cache[:0]
    assert no_clips.to_frame(vectors=True).columns.tolist() == cache.to_frame(vectors=True).columns.tolist()
    assert no_clips.to_numpy().X.shape == (0, *SHAPE)
    dataset = no_clips.to_dataset()
    assert len(dataset) == 0 and dataset.column_names == [*COLUMNS, "heads"]
