"""What killed processes left half-written is cleared, and what living ones are writing is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calm import CALMClassifier, load
from calm.parts import part_beside
from tests.tasks import task

_SAVE = """
import os, signal, sys
import numpy as np
from calm import CALMClassifier
from tests.tasks import task
clf = CALMClassifier().fit(*task())
os.fsync = lambda _: os.kill(os.getpid(), getattr(signal, sys.argv[2]))  # before the file has its name
clf.save(sys.argv[1])
"""


def saving_process(path: Path, sign: str) -> subprocess.Popen[bytes]:
    """Start to save a classifier in another process, which gets a signal when half of it is done."""
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
    part_beside(path)
    assert [p.name for p in tmp_path.iterdir()] == [young.name]


def test_a_number_that_was_given_to_another_process_saves_no_part(tmp_path: Path) -> None:
    mine = part_beside(tmp_path / "heads.h5")
    mine.touch()
    os.utime(mine, (1, 1))  # long before this process began
    part_beside(tmp_path / "heads.h5")
    assert not mine.exists()


@pytest.mark.parametrize("name", ["heads.h5", "a[b]*?.h5", "x" * 200 + ".h5"])
def test_parts_of_other_files_are_left_alone_whatever_their_names(tmp_path: Path, name: str) -> None:
    others = [tmp_path / f".{name}.bak.12.part", tmp_path / f".other{name[:9]}.12.part", tmp_path / f"{name}.12.part"]
    for other in others:
        other.touch()
    part = part_beside(tmp_path / name)
    part.touch()
    assert part.parent == tmp_path and part.name.startswith(".") and part.suffix == ".part"
    assert all(other.exists() for other in others)


def test_saving_is_as_whole_as_before(tmp_path: Path) -> None:
    X, y = task()
    clf = CALMClassifier().fit(X, y)
    clf.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors").predict_proba(X), clf.predict_proba(X))
