"""Folders with links, loops, pipes and unreadable sub-folders."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from calm.extract import find_clips
from tests.extract.media.test_find import touch


def list_clips(folder: Path) -> list[tuple[str, str | None]]:
    return [(clip.name, clip.label) for clip in find_clips(folder)]


def link(at: Path, to: Path | str) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to)


def test_class_folders_and_clips_may_be_links(tmp_path: Path) -> None:
    touch(tmp_path / "store", "a/1.wav", "a/park/2.wav", "b/3.wav")
    data = tmp_path / "data"
    link(data / "dog", tmp_path / "store/a")
    link(data / "rain/4.wav", tmp_path / "store/b/3.wav")
    assert list_clips(data) == [("dog/1.wav", "dog"), ("dog/park/2.wav", "dog"), ("rain/4.wav", "rain")]


def test_two_classes_that_are_one_folder_are_both_named(tmp_path: Path) -> None:
    touch(tmp_path / "store", "1.wav")
    for split in ("", "train/", "test/"):
        data = tmp_path / f"data-{len(split)}"
        link(data / f"{split}dog", tmp_path / "store")
        link(data / f"{split}wolf", tmp_path / "store")
        with pytest.raises(ValueError, match=f"{split}dog/1.wav and {split}wolf/1.wav are the same file, but with a"):
            find_clips(data)


def test_within_a_class_a_folder_is_entered_once_under_its_own_name(tmp_path: Path) -> None:
    touch(tmp_path, "dog/park/1.wav", "dog/2.wav")
    link(tmp_path / "dog/again", "park")
    assert list_clips(tmp_path) == [("dog/2.wav", "dog"), ("dog/park/1.wav", "dog")]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "../dog", "/"])
def test_a_link_to_a_folder_above_itself_is_not_entered(tmp_path: Path, target: str) -> None:
    touch(tmp_path, "data/dog/1.wav", "data/rain/2.wav", "beside/3.wav")
    link(tmp_path / "data/dog/up", target)
    assert list_clips(tmp_path / "data") == [("dog/1.wav", "dog"), ("rain/2.wav", "rain")]


def test_a_link_out_of_a_linked_class_does_not_lead_back_to_what_is_above(tmp_path: Path) -> None:
    touch(tmp_path, "store/dog/1.wav", "store/4.wav", "data/rain/2.wav")
    link(tmp_path / "data/dog", tmp_path / "store/dog")
    link(tmp_path / "store/dog/up", "..")
    link(tmp_path / "store/dog/back", tmp_path / "data")
    assert list_clips(tmp_path / "data") == [("dog/1.wav", "dog"), ("rain/2.wav", "rain")]


def test_crossing_links_do_not_multiply(tmp_path: Path) -> None:
    """Every folder links to every other: without a guard, 12 folders give more paths than can ever be visited."""
    names = [f"{i:02}" for i in range(12)]
    for name in names:
        touch(tmp_path / "store", f"{name}/{name}.wav")
        for other in names:
            link(tmp_path / "store" / name / f"to{other}", f"../{other}")
    link(tmp_path / "data/dog", tmp_path / "store/00")
    assert sorted(Path(name).name for name, _ in list_clips(tmp_path / "data")) == [f"{name}.wav" for name in names]
    link(tmp_path / "data/cat", tmp_path / "store/01")
    with pytest.raises(ValueError, match="are the same file, but with a different label: 'cat' and 'dog'"):
        find_clips(tmp_path / "data")


def test_hidden_folders_and_links_that_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav", "store/2.wav")
    link(tmp_path / ".hidden", tmp_path / "store")
    link(tmp_path / "dog/gone", tmp_path / "nowhere")
    link(tmp_path / "dog/itself", "itself")
    assert list_clips(tmp_path) == [("dog/1.wav", "dog"), ("store/2.wav", "store")]


def test_a_clip_that_is_a_link_to_nowhere_is_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav")
    link(tmp_path / "dog/2.wav", tmp_path / "nowhere.wav")
    assert list_clips(tmp_path) == [("dog/1.wav", "dog"), ("dog/2.wav", "dog")]


def test_only_files_are_clips(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav", "dog/folder.wav/2.wav")
    os.mkfifo(tmp_path / "dog/pipe.wav")
    link(tmp_path / "dog/null.wav", "/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "dog/s.wav"))
        assert list_clips(tmp_path) == [("dog/1.wav", "dog"), ("dog/folder.wav/2.wav", "dog")]


def test_one_pipe_is_no_clip(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(OSError, match=r"pipe\.wav is a named pipe, not a file"):
        find_clips(tmp_path / "pipe.wav")
    with pytest.raises(ValueError, match="no audio files found in"):
        find_clips(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_may_not_be_looked_into_is_warned_of(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav", "rain/2.wav")
    (tmp_path / "rain").chmod(0)
    try:
        with pytest.warns(UserWarning, match="cannot list the files of .*rain, which is skipped: Permission denied"):
            assert list_clips(tmp_path) == [("dog/1.wav", "dog")]
    finally:
        (tmp_path / "rain").chmod(0o755)
