"""A file that is listed repeatedly becomes one clip; contradictions are refused."""

from __future__ import annotations

import csv
import json
import os
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calm.extract import find_clips
from tests.extract.media.test_find import touch
from tests.extract.media.test_folders import link

FIELDS = ("path", "label", "split", "group", "question")


def write_manifest(folder: Path, *rows: tuple[str, ...]) -> Path:
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([FIELDS[: max(map(len, rows))], *rows])
    return folder / "list.csv"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make two files, and other paths to the first one."""
    touch(tmp_path, "a.wav", "b.wav", "sub/c.wav")
    link(tmp_path / "link.wav", "a.wav")
    link(tmp_path / "folder", ".")
    os.link(tmp_path / "a.wav", tmp_path / "hard.wav")
    return tmp_path


OTHER_PATHS = ("a.wav", "./a.wav", "sub/../a.wav", "link.wav", "hard.wav", "folder/a.wav", "{root}/a.wav")


@pytest.mark.parametrize("other", OTHER_PATHS)
def test_a_repeated_file_is_one_clip(data: Path, other: str) -> None:
    manifest = write_manifest(data, ("a.wav", "dog"), ("b.wav", "cat"), (other.format(root=data), "dog"))
    with pytest.warns(UserWarning, match=r"list\.csv: 1 of 3 clips repeat a file .*entry 3 \(.*entry 1 \(a\.wav\)"):
        clips = find_clips(manifest)
    assert [clip.name for clip in clips] == ["a.wav", "b.wav"]


@pytest.mark.parametrize("other", OTHER_PATHS)
@pytest.mark.parametrize(
    ("field", "rows"),
    [
        ("label", (("dog",), ("cat",))),
        ("label", (("dog",), ("",))),
        ("split", (("dog", "train"), ("dog", "test"))),
        ("group", (("dog", "", "ann"), ("dog", "", "bob"))),
        ("split", (("dog", "train", "", "Who?"), ("yes", "test", "", "Is it a dog?"))),
        ("group", (("dog", "", "ann", "Who?"), ("yes", "", "bob", "Is it a dog?"))),
    ],
)
def test_one_file_with_two_values_is_refused(
    data: Path, field: str, rows: tuple[tuple[str, ...], tuple[str, ...]], other: str
) -> None:
    other = other.format(root=data)
    manifest = write_manifest(data, ("a.wav", *rows[0]), ("b.wav", *rows[0]), (other, *rows[1]))
    with pytest.raises(ValueError, match=f"the same file, but with a different {field}") as error:
        find_clips(manifest)
    assert "list.csv: entry 1 (a.wav) and entry 3 (" in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_missing_are_compared_by_path(data: Path) -> None:
    manifest = write_manifest(data, ("b.wav", "dog"), ("x.wav", "dog"), ("sub/../x.wav", "cat"))
    with pytest.raises(ValueError, match=r"entry 2 \(x.wav\) and entry 3 \(sub/../x.wav\) are the same file"):
        find_clips(manifest)


def test_one_file_with_several_questions_is_several_clips(data: Path) -> None:
    manifest = write_manifest(
        data, ("a.wav", "dog", "train", "ann", "Who?"), ("link.wav", "yes", "train", "ann", "Is it a dog?")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [clip.label for clip in find_clips(manifest)] == ["dog", "yes"]
    rows = [
        {"path": "a.wav", "label": "dog", "question": "Which?", "options": ["dog", "cat"]},
        {"path": "a.wav", "label": "B", "question": "Which?", "options": {"A": "cat", "B": "dog"}},
    ]
    (data / "list.json").write_text(json.dumps(rows))
    assert len(find_clips(data / "list.json")) == 2


def test_one_file_in_two_class_folders_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav", "cat/2.wav")
    link(tmp_path / "wolf/3.wav", "../dog/1.wav")
    with pytest.raises(ValueError, match=r"dog/1\.wav and wolf/3\.wav are the same file, .*: 'dog' and 'wolf'"):
        find_clips(tmp_path)


def test_one_file_twice_in_a_class_folder_is_one_clip(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav", "cat/2.wav")
    link(tmp_path / "dog/again.wav", "1.wav")
    with pytest.warns(UserWarning, match=r"such as dog/again\.wav, which is the same file as dog/1\.wav"):
        assert [clip.name for clip in find_clips(tmp_path)] == ["cat/2.wav", "dog/1.wav"]


def test_one_file_in_two_split_folders_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "plain/train/dog/1.wav", "plain/test/cat/2.wav", "listed/train/1.wav", "listed/test/2.wav")
    link(tmp_path / "plain/test/dog/3.wav", "../../train/dog/1.wav")
    link(tmp_path / "listed/test/1.wav", "../train/1.wav")
    for split in ("train", "test"):
        (tmp_path / "listed" / split / "metadata.csv").write_text("file_name,label\n1.wav,dog\n")
    for name in ("plain", "listed"):
        with pytest.raises(ValueError, match="are the same file, but with a different split: 't.*' and 't"):
            find_clips(tmp_path / name)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a.wav", "link.wav", "b.wav"]), st.sampled_from(["x", "y"])), min_size=1)
)
def test_clips_that_are_returned_agree(data: Path, rows: list[tuple[str, str]]) -> None:
    labels: dict[Path, set[str]] = {}
    for path, label in rows:
        labels.setdefault((data / path).resolve(), set()).add(label)
    manifest = write_manifest(data, *rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if any(len(found) > 1 for found in labels.values()):
            with pytest.raises(ValueError, match="are the same file"):
                find_clips(manifest)
        else:
            clips = find_clips(manifest)
            assert {Path(str(clip.audio)).resolve(): {clip.label} for clip in clips} == labels
            assert len(clips) == len(labels)
