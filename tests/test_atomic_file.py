"""Temporary files of killed processes are removed; those of running processes are not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calm import CALMClassifier, load
from calm.atomic_file import create_atomic_file
from tests.extract.cache.files import write_current_version
from tests.tasks import task

_SAVE = """
import os, signal, sys
import numpy as np
from calm import CALMClassifier
from tests.tasks import task
clf = CALMClassifier().fit(*task())
os.fsync = lambda _: os.kill(os.getpid(), getattr(signal, sys.argv[2]))  # before the rename
clf.save(sys.argv[1])
"""


def saving_process(path: Path, sign: str) -> subprocess.Popen[bytes]:
    """Start to save a classifier in another process, which gets a signal while the temporary file is there."""
    root = Path(__file__).resolve().parents[1]
    return subprocess.Popen([sys.executable, "-c", _SAVE, str(path), sign], cwd=root)


def test_the_next_fit_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "calm.safetensors"
    assert saving_process(path, "SIGKILL").wait() == -signal.SIGKILL
    assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
    CALMClassifier().fit(*task()).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["calm.safetensors"]


def test_what_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "calm.safetensors"
    process = saving_process(path, "SIGSTOP")
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    [part] = tmp_path.iterdir()
    CALMClassifier().fit(*task()).save(path)
    assert part.exists()
    process.send_signal(signal.SIGCONT)
    assert process.wait() == 0
    assert [p.name for p in tmp_path.iterdir()] == ["calm.safetensors"]
    load(path)


def test_parts_of_other_machines_are_left_for_a_day(tmp_path: Path) -> None:
    path = tmp_path / "heads.h5"
    young, old, bare = (tmp_path / f".heads.h5.{who}.part" for who in ("node-17.4711", "node-18.4711", "4711"))
    for part in (young, old, bare):
        part.touch()
    os.utime(old, (1, 1))
    with create_atomic_file(path) as made:
        assert {p.name for p in tmp_path.iterdir()} == {young.name, made.path.name}
    assert [p.name for p in tmp_path.iterdir()] == [young.name]


def test_a_number_that_was_given_to_another_process_saves_no_part(tmp_path: Path) -> None:
    with create_atomic_file(tmp_path / "heads.h5") as mine:
        os.utime(mine.path, (1, 1))  # long before this process began
        with create_atomic_file(tmp_path / "heads.h5"):
            assert not mine.path.exists()


@pytest.mark.parametrize("name", ["heads.h5", "a[b]*?.h5", "x" * 200 + ".h5"])
def test_temporary_files_of_other_paths_are_kept(tmp_path: Path, name: str) -> None:
    others = [tmp_path / f".{name}.bak.12.part", tmp_path / f".other{name[:9]}.12.part", tmp_path / f"{name}.12.part"]
    for other in others:
        other.touch()
    with create_atomic_file(tmp_path / name) as part:
        assert part.path.parent == tmp_path and part.path.name.startswith(".") and part.path.suffix == ".part"
    assert all(other.exists() for other in others)


def plant_links(path: Path, victim: Path) -> list[Path]:
    """Plant links to another file at predictable names of temporary files, of this process and of a dead one."""
    with create_atomic_file(path) as part:
        of_this_process = re.sub(r"(\.[0-9a-f]{8})?\.part$", ".part", part.path.name)
    links = [path.parent / name for name in (of_this_process, f".{path.name}.4711.part")]
    for link in links:
        link.symlink_to(victim)
    return links


@pytest.mark.parametrize("make", [write_current_version, lambda path: CALMClassifier().fit(*task()).save(path)])
def test_links_at_temporary_paths_are_not_followed(tmp_path: Path, make: Callable[[Path], object]) -> None:
    (victim := tmp_path / "victim").write_bytes(b"precious")
    links = plant_links(tmp_path / "made", victim)
    make(tmp_path / "made")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "made").stat().st_size > 8 and not (tmp_path / "made").is_symlink()
    assert all(link.is_symlink() for link in links)


def test_two_parts_of_one_file_are_two_files(tmp_path: Path) -> None:
    with create_atomic_file(tmp_path / "made") as one, create_atomic_file(tmp_path / "made") as another:
        assert one.path != another.path
        another.file.write(b"whole")
        another.replace(tmp_path / "made")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"whole"]


def test_what_has_taken_a_parts_place_is_neither_renamed_nor_removed(tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_bytes(b"precious")
    with create_atomic_file(tmp_path / "made") as part:
        part.path.unlink()
        part.path.symlink_to(victim)
        with pytest.raises(OSError, match="another process replaced"):
            part.replace(tmp_path / "made")
    assert part.path.is_symlink() and victim.read_bytes() == b"precious" and not (tmp_path / "made").exists()


@pytest.mark.parametrize("who", ["123", "node-17.123", "4" * 60])
def test_a_folder_that_is_called_like_a_part_blocks_nothing(tmp_path: Path, who: str) -> None:
    (folder := tmp_path / f".made.{who}.part").mkdir()
    os.utime(folder, (1, 1))
    write_current_version(tmp_path / "made")
    assert folder.is_dir() and (tmp_path / "made").is_file()


def test_saving_is_as_whole_as_before(tmp_path: Path) -> None:
    X, y = task()
    clf = CALMClassifier().fit(X, y)
    clf.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors").predict_proba(X), clf.predict_proba(X))
