"""Progress on a terminal is a bar; elsewhere it is a line now and then, and nothing if it is not wanted."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from calm.extract import LALM, ClipResult, with_progress
from calm.extract import progress as progress_module
from calm.extract.progress import announce_if_slow


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets."""
    now = [1000.0]
    monkeypatch.setattr("calm.extract.progress.time.monotonic", lambda: now[0])
    return now


def batches_of(n: int, clock: list[float], seconds: float) -> Iterator[list[ClipResult]]:
    for first in range(0, n, 2):
        clock[0] += seconds
        yield [ClipResult(first), ClipResult(first + 1)]


def test_without_a_terminal_a_line_is_printed_now_and_then(
    clock: list[float], tiny: LALM, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = list(with_progress(batches_of(40, clock, seconds=10.0), tiny, 1040, done=1000))
    assert len(batches) == 20
    assert capsys.readouterr().err.splitlines() == [  # after 30, 90 and 150 s
        "tiny on cpu: 1,006 of 1,040 clips, 0.2 clips/s, about 3 min left",
        "tiny on cpu: 1,018 of 1,040 clips, 0.2 clips/s, about 2 min left",
        "tiny on cpu: 1,030 of 1,040 clips, 0.2 clips/s, less than a minute left",
    ]


def test_short_work_says_nothing(clock: list[float], tiny: LALM, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(with_progress(batches_of(40, clock, seconds=1.0), tiny, 40))) == 20
    assert capsys.readouterr().err == ""


def test_progress_that_is_not_wanted_is_not_shown(
    clock: list[float], tiny: LALM, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(list(with_progress(batches_of(40, clock, seconds=100.0), tiny, 40, shown=False))) == 20
    assert capsys.readouterr().err == ""


def test_on_a_terminal_a_bar_is_shown(
    tiny: LALM, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    list(with_progress([[ClipResult(0)], [ClipResult(1)]], tiny, 2))
    assert "tiny on cpu: 100%" in capsys.readouterr().err


def test_slow_work_is_announced_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_SLOW_LOADING_SECONDS", 0.02)
    for shown, expected in ((True, "loading a\\nb …\n"), (False, "")):
        with announce_if_slow("loading a\nb …", shown=shown):
            time.sleep(0.2)
        assert capsys.readouterr().err == expected


def test_fast_work_is_not_announced(capsys: pytest.CaptureFixture[str]) -> None:
    n_threads = threading.active_count()
    with announce_if_slow("loading"):
        pass
    time.sleep(0.05)
    assert capsys.readouterr().err == "" and threading.active_count() <= n_threads
