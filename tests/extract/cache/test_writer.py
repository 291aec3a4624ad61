"""Writing stores results and failures; a kill, a lock or an overflow loses no finished row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calm.extract import CacheWriter, Clip, HeadCache, create_cache
from calm.extract.result import ClipResult
from tests.extract.cache.files import (
    FINGERPRINT,
    REQUEST,
    SHAPE,
    fill_cache,
    make_cache,
    make_result,
    run_in_other_process,
    vectors_of_rows,
)


def test_failures_keep_their_reasons_even_long_ones(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "heads.h5")
    with CacheWriter(path) as writer:
        writer.write([ClipResult(1, reason="ü" * 1000)])
    with HeadCache(path) as cache:
        assert set(cache.failures) == {"räin/b.wav"}
        assert cache.failures["räin/b.wav"] == "ü" * 150


def test_reasons_that_name_files_which_are_no_text_are_kept(tmp_path: Path) -> None:
    with CacheWriter(make_cache(tmp_path / "heads.h5")) as writer:
        writer.write([ClipResult(0, reason="no such file: \udcff.wav")])
        assert writer.failures == {"a.wav": "no such file: ?.wav"}


def test_one_file_that_fails_under_several_questions_has_a_reason_for_each(tmp_path: Path) -> None:
    path = tmp_path / "heads.h5"
    clips = [Clip("a.wav", "a.wav"), Clip("b.wav", "b.wav"), Clip("a.wav", "a.wav"), Clip("a.wav", "a.wav")]
    create_cache(path, clips, ["Who?", "Who?", "Why?", "Why?"], SHAPE, REQUEST, FINGERPRINT)
    with CacheWriter(path) as writer:
        writer.write([ClipResult(row, reason=f"reason {row}") for row in range(4)])
        assert writer.failures == {
            "a.wav (asked 'Who?')": "reason 0",
            "b.wav": "reason 1",
            "a.wav (asked 'Why?')": "reason 2",
            "a.wav (row 3)": "reason 3",
        }


def test_float16_overflow_is_a_failure_and_the_others_are_stored(tmp_path: Path) -> None:
    large = vectors_of_rows(np.array([1]))[0]
    large[0, 0, 0] = -7e4
    results = [make_result(1, large), make_result(0)]
    with CacheWriter(make_cache(tmp_path / "a.h5")) as writer:
        stored = writer.write(results)
        assert [result.row for result in stored] == [1, 0]
        assert stored[0].failed and stored[1] is results[1]
        reason = "head vectors reach 7e+04, too large for float16: extract with float32 storage"
        assert writer.failures == {"räin/b.wav": stored[0].reason} == {"räin/b.wav": reason}
        assert (writer.done.tolist(), writer.pending.tolist()) == (
            [0],
            [2],
        )  # the failed clip is not pending: it would overflow again
    with CacheWriter(make_cache(tmp_path / "b.h5", storage="float32")) as writer:
        assert writer.write(results) == results
        assert writer.done.tolist() == [0, 1]


def test_a_row_that_is_done_is_never_written_again(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    before = path.read_bytes()
    with CacheWriter(path) as writer, pytest.raises(ValueError, match=r"row 0 \('a\.wav'\) is already done"):
        writer.write([make_result(1), ClipResult(0, reason="gone")])
    assert path.read_bytes() == before


#: Code that kills its process at the n-th fsync; n is the second argument.
KILLED_AT_A_SYNC = """
import os, signal, sys
import numpy as np
from calm.extract import CacheWriter
from tests.extract.cache.files import make_result
syncs = []
def kill(_):
    syncs.append(1)
    if len(syncs) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = kill
"""


@pytest.mark.parametrize("sync", [1, 2, 3])
def test_a_kill_while_failed_clips_are_written_again_loses_none(tmp_path: Path, sync: int) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    with CacheWriter(path) as writer:
        writer.write([ClipResult(1, reason="not readable")])
    killed = run_in_other_process(
        KILLED_AT_A_SYNC + "CacheWriter(sys.argv[1]).write([make_result(1), make_result(2)])",
        path,
        sync,
    )
    assert killed.returncode == -9
    with CacheWriter(path) as writer:
        assert sorted([*writer.done.tolist(), *writer.pending.tolist()]) == [0, 1, 2]
        assert writer.done.tolist() == ([0, 1, 2] if sync == 3 else [0])
        np.testing.assert_array_equal(writer.read([0]), vectors_of_rows(np.array([0])).reshape(1, 6, 4))


def test_a_kill_while_new_times_are_noted_loses_nothing(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0, 1])
    note = "CacheWriter(sys.argv[1]).update_modified_times(np.array([0, 1]), [11, 12])"
    assert run_in_other_process(KILLED_AT_A_SYNC + note, path, 1).returncode == -9
    with CacheWriter(path) as writer:
        assert writer.done.tolist() == [0, 1]
        np.testing.assert_array_equal(writer.read([0, 1]), vectors_of_rows(np.array([0, 1])).reshape(2, 6, 4))


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    with CacheWriter(path) as writer:
        second = run_in_other_process(
            "import sys; from calm.extract import CacheWriter; CacheWriter(sys.argv[1])", path
        )
        assert f"BlockingIOError: {path} is being written by another process" in second.stderr
        read = "import sys; from calm.extract import HeadCache; print(HeadCache(sys.argv[1]).done)"
        assert run_in_other_process(read, path).stdout == "[0]\n"
        writer.write([make_result(2)])
        assert run_in_other_process(read, path).stdout == "[0 2]\n"  # visible as soon as write returns


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "heads.h5")
    killed = run_in_other_process(
        """
        import os, signal, sys
        from calm.extract import CacheWriter
        writer = CacheWriter(sys.argv[1])
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    assert killed.returncode == -9
    fill_cache(path, [1])


def test_a_cache_that_is_open_in_this_process_says_so(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "heads.h5")
    with HeadCache(path):
        with pytest.raises(OSError, match="is open in this process: close the HeadCache that reads it") as error:
            CacheWriter(path)
        assert str(error.value).startswith(f"{path} ") and "\n" not in str(error.value)
    CacheWriter(path).close()
