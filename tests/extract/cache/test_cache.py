"""The cache keeps what was written, tells what it is, and refuses what it is not."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from calm.extract import (
    CacheWriter,
    Clip,
    Fingerprint,
    HeadCache,
    Request,
    check_compatible,
    create_cache,
    extend_cache,
)
from calm.extract.cache.layout import LONGEST
from calm.extract.media.content import UNKNOWN, Content
from calm.extract.result import ClipResult

REQUEST = Request(model="tiny")
FINGERPRINT = Fingerprint("abc", "def", "float32", "Hm?", 1, 16000, 5.0)
CLIPS = [
    Clip("a.wav", "a.wav", "dog", "train", "1"),
    Clip("b.wav", "räin/b.wav", "räin", "test", "2"),
    Clip("c.wav", "c.wav"),
]
SHAPE = (2, 3, 4)


def make(path: Path, clips: list[Clip] | None = None, storage: str = "float16") -> Path:
    clips = CLIPS if clips is None else clips
    create_cache(path, clips, ["Hm?"] * len(clips), SHAPE, REQUEST, FINGERPRINT, storage=storage)
    return path


def vectors(rows: NDArray) -> NDArray[np.float32]:
    """Small whole numbers, which float16 holds exactly, different in every row."""
    return (np.asarray(rows)[:, None, None, None] * 10 + np.arange(24).reshape(SHAPE)).astype(np.float32)


def fill(path: Path, rows: list[int]) -> Path:
    with CacheWriter(path) as writer:
        writer.write([encoded(row) for row in rows])
    return path


def encoded(row: int, value: NDArray[np.floating] | None = None, content: Content = UNKNOWN) -> ClipResult:
    return ClipResult(row, vectors(np.array([row]))[0] if value is None else value, "", 2.5, 0.5, content)


def test_a_new_cache_describes_its_clips_all_of_them_pending(tmp_path: Path) -> None:
    with HeadCache(make(tmp_path / "heads.h5")) as cache:
        assert cache.shape == (3, *SHAPE)
        assert cache.names.tolist() == ["a.wav", "räin/b.wav", "c.wav"]
        assert cache.labels.tolist() == ["dog", "räin", ""]
        assert cache.splits.tolist() == ["train", "test", ""]
        assert cache.groups.tolist() == ["1", "2", ""]
        assert cache.status.tolist() == [0, 0, 0]
        assert cache.done.tolist() == []
        assert np.isnan(cache.seconds).all()
        assert (cache.request, cache.fingerprint) == (REQUEST, FINGERPRINT)


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_rows_written_are_read_back_in_any_order(tmp_path: Path, storage: str) -> None:
    with HeadCache(fill(make(tmp_path / "heads.h5", storage=storage), [0, 2])) as cache:
        assert cache.done.tolist() == [0, 2]
        np.testing.assert_array_equal(cache.read(np.array([2, 0, 2])), vectors(np.array([2, 0, 2])).reshape(3, 6, 4))
        assert cache.seconds[0] == 2.5


@given(rows=st.lists(st.integers(0, 11), max_size=20))
def test_any_selection_reads_the_rows_it_names(tmp_path_factory: pytest.TempPathFactory, rows: list[int]) -> None:
    path = tmp_path_factory.mktemp("c") / "heads.h5"
    fill(make(path, [Clip("", str(i)) for i in range(12)]), list(range(12)))
    with HeadCache(path) as cache:
        chosen = cache[np.array(rows, dtype=int)]
        assert chosen.shape == (len(rows), *SHAPE)
        np.testing.assert_array_equal(np.asarray(chosen), vectors(np.array(rows, dtype=int)))
        blocks = [chosen.read(part) for part in (slice(0, 5), slice(5, 10), slice(10, None))]
        assert sum(map(len, blocks)) == len(rows)


def test_rows_are_counted_from_the_end_and_never_beyond(tmp_path: Path) -> None:
    with HeadCache(fill(make(tmp_path / "heads.h5"), [0, 1, 2])) as cache:
        np.testing.assert_array_equal(cache.read(np.array([-1])), vectors(np.array([2])).reshape(1, 6, 4))
        assert cache[1].shape == cache[-1].shape == (1, *SHAPE)
        assert cache[1:][0].names.tolist() == ["räin/b.wav"]
        with pytest.raises(IndexError):
            cache.read(np.array([3]))


def test_rows_without_vectors_cannot_be_read(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    with (
        HeadCache(path) as cache,
        pytest.raises(ValueError, match="1 of the selected clips have no head vectors, such as 'c.wav'"),
    ):
        cache.read(np.array([0, 2]))


def test_vectors_that_are_no_numbers_are_damage(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    with h5py.File(path, "r+") as file:
        file["heads"][0, 0, 0, 0] = np.nan
    with (
        HeadCache(path) as cache,
        pytest.raises(ValueError, match="is damaged: it contains NaN"),
    ):
        cache.read(np.array([0]))


def test_failures_keep_their_reasons_even_long_ones(tmp_path: Path) -> None:
    path = make(tmp_path / "heads.h5")
    with CacheWriter(path) as writer:
        writer.write([ClipResult(1, reason="ü" * 1000)])
    with HeadCache(path) as cache:
        assert set(cache.failures) == {"räin/b.wav"}
        assert cache.failures["räin/b.wav"] == "ü" * 150


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
    large = vectors(np.array([1]))[0]
    large[0, 0, 0] = -7e4
    results = [encoded(1, large), encoded(0)]
    with CacheWriter(make(tmp_path / "a.h5")) as writer:
        stored = writer.write(results)
        assert [result.row for result in stored] == [1, 0]
        assert stored[0].failed and stored[1] is results[1]
        reason = "head vectors reach 7e+04, too large for float16: extract with float32 storage"
        assert writer.failures == {"räin/b.wav": stored[0].reason} == {"räin/b.wav": reason}
        assert (writer.done.tolist(), writer.pending.tolist()) == ([0], [2])  # it would overflow again
    with CacheWriter(make(tmp_path / "b.h5", storage="float32")) as writer:
        assert writer.write(results) == results
        assert writer.done.tolist() == [0, 1]


def test_the_files_size_and_metadata_do_not_change_while_it_is_filled(tmp_path: Path) -> None:
    path = make(tmp_path / "heads.h5")
    size = path.stat().st_size
    with h5py.File(path) as file:
        places = {name: file[name].id.get_offset() for name in file}
        assert all(file[name].chunks is None and place is not None for name, place in places.items())
    fill(path, [0, 1, 2])
    with h5py.File(path) as file:
        assert {name: file[name].id.get_offset() for name in file} == places
    assert path.stat().st_size == size


@pytest.mark.parametrize("other", [Clip("", "dog\0"), Clip("", "a", "dog\0"), Clip("", "a", group="dog\0")])
def test_a_text_with_a_zero_is_refused_before_it_turns_into_another(tmp_path: Path, other: Clip) -> None:
    with pytest.raises(ValueError, match=r"'dog\\x00' contains a NUL character, which a cache cannot store: remove it"):
        make(tmp_path / "heads.h5", [other, CLIPS[1]])
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_exists_is_never_replaced(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    with pytest.raises(FileExistsError, match="was just created by another process"):
        make(path)
    with HeadCache(path) as cache:
        assert cache.done.tolist() == [0]
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_what_a_killed_process_left_while_allocating_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".heads.h5.123.part").write_bytes(b"half")
    make(tmp_path / "heads.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_a_file_system_that_cannot_reserve_blocks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with HeadCache(fill(make(tmp_path / "heads.h5"), [1])) as cache:
        assert cache.done.tolist() == [1]


def test_a_longer_list_keeps_rows_failures_and_the_lock(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    longer = [Clip("0.wav", "0.wav"), *reversed(CLIPS)]
    with CacheWriter(path) as old:
        old.write([ClipResult(1, reason="gone")])
        with extend_cache(old, longer, ["Hm?"] * 4) as new:
            assert new.status.tolist() == [0, 0, 2, 1]
            second = in_another_process(
                "import sys; from calm.extract import CacheWriter; CacheWriter(sys.argv[1])", path
            )
            assert "is being written by another process" in second.stderr
            new.write([encoded(0)])
    with HeadCache(path) as cache:
        assert cache.names.tolist() == ["0.wav", "c.wav", "räin/b.wav", "a.wav"]
        assert cache.failures == {"räin/b.wav": "gone"}
        np.testing.assert_array_equal(cache.read(np.array([3])), vectors(np.array([0])).reshape(1, 6, 4))
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_an_extension_that_is_killed_leaves_the_old_cache(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    killed = in_another_process(
        """
        import os, signal, sys
        from calm.extract import CacheWriter, extend_cache
        from tests.extract.cache.test_cache import CLIPS
        CacheWriter.copy_rows_from = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        with CacheWriter(sys.argv[1]) as old:
            extend_cache(old, CLIPS * 2, ["Hm?"] * 6)
        """,
        path,
    )
    assert killed.returncode == -9
    with HeadCache(path) as cache:
        assert (len(cache), cache.done.tolist()) == (3, [0])
    with CacheWriter(path) as old, extend_cache(old, CLIPS * 2, ["Hm?"] * 6) as new:
        assert len(new) == 6
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_a_link_to_a_cache_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    make(tmp_path / "scratch/heads.h5")
    (tmp_path / "heads.h5").symlink_to("scratch/heads.h5")
    with CacheWriter(tmp_path / "heads.h5") as old, extend_cache(old, CLIPS * 2, ["Hm?"] * 6):
        pass
    assert (tmp_path / "heads.h5").is_symlink()
    with HeadCache(tmp_path / "scratch/heads.h5") as cache:
        assert len(cache) == 6


def test_a_cache_that_the_system_cannot_lock_is_not_called_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "heads.h5")

    def no_locks(*_: object, **__: object) -> None:
        raise OSError("Unable to open file (errno = 37, error message = 'No locks available')")

    monkeypatch.setattr(h5py, "File", no_locks)
    with pytest.raises(OSError, match="cannot open .*heads.h5: No locks available"):
        HeadCache(path)


def test_file_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        assert make(tmp_path / "heads.h5").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


def in_another_process(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("sync", [1, 2, 3])
def test_a_kill_while_failed_clips_are_written_again_loses_none(tmp_path: Path, sync: int) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    with CacheWriter(path) as writer:
        writer.write([ClipResult(1, reason="not readable")])
    killed = in_another_process(
        KILLED_AT_A_SYNC + "CacheWriter(sys.argv[1]).write([encoded(1), encoded(2)])",
        path,
        sync,
    )
    assert killed.returncode == -9
    with CacheWriter(path) as writer:
        assert sorted([*writer.done.tolist(), *writer.pending.tolist()]) == [0, 1, 2]
        assert writer.done.tolist() == ([0, 1, 2] if sync == 3 else [0])
        np.testing.assert_array_equal(writer.read([0]), vectors(np.array([0])).reshape(1, 6, 4))


KILLED_AT_A_SYNC = """
import os, signal, sys
import numpy as np
from calm.extract import CacheWriter
from tests.extract.cache.test_cache import encoded
syncs = []
def kill(_):
    syncs.append(1)
    if len(syncs) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = kill
"""


def test_a_kill_while_new_times_are_noted_loses_nothing(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0, 1])
    note = "CacheWriter(sys.argv[1]).note_times(np.array([0, 1]), [11, 12])"
    assert in_another_process(KILLED_AT_A_SYNC + note, path, 1).returncode == -9
    with CacheWriter(path) as writer:
        assert writer.done.tolist() == [0, 1]
        np.testing.assert_array_equal(writer.read([0, 1]), vectors(np.array([0, 1])).reshape(2, 6, 4))


def test_a_row_that_is_done_is_never_written_again(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    before = path.read_bytes()
    with CacheWriter(path) as writer, pytest.raises(ValueError, match=r"row 0 \('a\.wav'\) is already done"):
        writer.write([encoded(1), ClipResult(0, reason="gone")])
    assert path.read_bytes() == before


def test_rows_of_clips_that_have_changed_are_left_out_of_the_new_file(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0, 1, 2])
    with CacheWriter(path) as old, extend_cache(old, CLIPS, ["Hm?"] * 3, without=np.array([1])) as new:
        assert (new.done.tolist(), new.pending.tolist()) == ([0, 2], [1])
        assert np.isnan(new.seconds[1]) and list(new.contents([1])) == [UNKNOWN]


def test_a_cache_that_is_open_in_this_process_says_so(tmp_path: Path) -> None:
    path = make(tmp_path / "heads.h5")
    with HeadCache(path):
        with pytest.raises(OSError, match="is open in this process: close the HeadCache that reads it") as told:
            CacheWriter(path)
        assert str(told.value).startswith(f"{path} ") and "\n" not in str(told.value)
    CacheWriter(path).close()


@pytest.mark.parametrize("looked_at_before", [True, False])
def test_what_describes_clips_in_few_words_and_numbers_can_be_read_after_closing(
    tmp_path: Path, looked_at_before: bool
) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0, 2])

    def described(cache: HeadCache) -> list[list[object]]:
        texts = (cache.labels, cache.splits, cache.groups, cache.texts, cache.prompts)
        return [column.tolist() for column in (*texts, cache[cache.done].labels, cache.peak[cache.done], cache.status)]

    with HeadCache(path) as cache:
        expected = described(cache)
    with HeadCache(path) as cache:
        if looked_at_before:
            described(cache)
    assert described(cache) == expected
    assert cache.seconds[0] == 2.5
    for ask in (
        lambda: cache.names,
        lambda: cache.read([0]),
        lambda: cache.first_duplicate,
        lambda: cache[[0]].digests,
    ):
        with pytest.raises(ValueError, match=r"heads\.h5 has been closed"):
            ask()
    cache.close()  # a second time


def test_reasons_that_name_files_which_are_no_text_are_kept(tmp_path: Path) -> None:
    with CacheWriter(make(tmp_path / "heads.h5")) as writer:
        writer.write([ClipResult(0, reason="no such file: \udcff.wav")])
        assert writer.failures == {"a.wav": "no such file: ?.wav"}


def test_extending_moves_many_rows_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calm.extract.cache.writer._COPY_BYTES", 100)  # two rows at a time
    clips = [Clip("", str(i)) for i in range(20)]
    path = fill(make(tmp_path / "heads.h5", clips), [*range(0, 20, 3), *range(1, 20, 3)])
    order = np.random.default_rng(0).permutation(20)
    with CacheWriter(path) as old, extend_cache(old, [clips[i] for i in order], ["Hm?"] * 20) as new:
        assert new.done.tolist() == np.flatnonzero(order % 3 < 2).tolist()
        np.testing.assert_array_equal(np.asarray(new[new.done]), vectors(order[new.done]))


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    path = fill(make(tmp_path / "heads.h5"), [0])
    with CacheWriter(path) as writer:
        second = in_another_process("import sys; from calm.extract import CacheWriter; CacheWriter(sys.argv[1])", path)
        assert f"BlockingIOError: {path} is being written by another process" in second.stderr
        read = "import sys; from calm.extract import HeadCache; print(HeadCache(sys.argv[1]).done)"
        assert in_another_process(read, path).stdout == "[0]\n"
        writer.write([encoded(2)])
        assert in_another_process(read, path).stdout == "[0 2]\n"  # as soon as it is acknowledged


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = make(tmp_path / "heads.h5")
    killed = in_another_process(
        """
        import os, signal, sys
        from calm.extract import CacheWriter
        writer = CacheWriter(sys.argv[1])
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        path,
    )
    assert killed.returncode == -9
    fill(path, [1])


def test_a_disk_without_room_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    # A limit on file size stands for a full disk: both fail when blocks are taken.
    result = in_another_process(
        """
        import resource, signal, sys
        from pathlib import Path
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        from calm.extract import Clip
        from tests.extract.cache.test_cache import make
        make(Path(sys.argv[1]), [Clip("", str(i)) for i in range(100_000)])
        """,
        tmp_path / "heads.h5",
    )
    assert result.stderr.splitlines()[-1].startswith(
        f"OSError: not enough disk space for {tmp_path / 'heads.h5'}, which needs 41.1 MB"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_cache_can_be_made_where_hard_links_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    make(tmp_path / "heads.h5")
    with pytest.raises(FileExistsError):
        make(tmp_path / "heads.h5")
    with HeadCache(tmp_path / "heads.h5") as cache:
        assert len(cache) == 3


# --- what is refused ---


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    path = make(tmp_path / "heads.h5", [Clip("", str(i)) for i in range(500)])
    path.write_bytes(path.read_bytes()[:-1000])
    for opener in (HeadCache, CacheWriter):
        with pytest.raises(ValueError, match="is a truncated HDF5 file"):
            opener(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.h5 is not a head cache"):
        HeadCache(tmp_path / "text.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(ValueError, match="is an HDF5 file, but not a head cache"):
        HeadCache(tmp_path / "other.h5")
    with pytest.raises(FileNotFoundError, match="no such file"):
        HeadCache(tmp_path / "nowhere.h5")
    with pytest.raises(IsADirectoryError, match="is a folder, not a head cache"):
        HeadCache(tmp_path)


def test_a_newer_format_asks_for_a_newer_calm(tmp_path: Path) -> None:
    path = make(tmp_path / "heads.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ValueError, match="format version 99.*update calm"):
        HeadCache(path)


def test_a_cache_without_one_of_its_datasets_is_damaged(tmp_path: Path) -> None:
    path = make(tmp_path / "heads.h5")
    with h5py.File(path, "r+") as file:
        del file["label"]
    with pytest.raises(ValueError, match="is damaged: .*label"):
        HeadCache(path)


def test_another_fingerprint_is_refused_naming_all_that_differs() -> None:
    other = replace(FINGERPRINT, prompt="Eh?", tokens=2)
    with pytest.raises(ValueError, match="prompt \\('Hm\\?' in A, 'Eh\\?' in B\\); tokens \\(1 in A, 2 in B\\)"):
        check_compatible(FINGERPRINT, other, "A", "B")
    check_compatible(FINGERPRINT, replace(FINGERPRINT), "A", "B")


def test_a_named_pipe_is_refused_before_anybody_waits_at_it(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "heads.h5")
    (link := tmp_path / "link.h5").symlink_to(pipe)
    code = """
        import sys
        from pathlib import Path
        from calm.extract import CacheWriter, HeadCache
        from tests.extract.cache.test_cache import make
        for opener in (HeadCache, CacheWriter, make):
            try:
                opener(Path(sys.argv[1]))
            except OSError as error:
                print(error)
        """
    for path in (pipe, link):
        told = in_another_process(code, path).stdout.splitlines()
        assert told == [f"{path} is a named pipe, not a file"] * 3
    assert {p.name for p in tmp_path.iterdir()} == {"heads.h5", "link.h5"}


@pytest.mark.parametrize("column", ["name", "label", "split", "group", "prompt"])
def test_one_long_text_is_refused_and_does_not_widen_all_others(tmp_path: Path, column: str) -> None:
    def make_with(path: Path, length: int) -> None:
        texts = dict.fromkeys(LONGEST, "short") | {column: "ä" * (length // 2)}  # two bytes each
        asked = texts.pop("prompt")
        long = Clip("", texts["name"], texts["label"], texts["split"], texts["group"])
        create_cache(path, [Clip("", "a.wav"), long], ["Hm?", asked], SHAPE, REQUEST, FINGERPRINT)

    make_with(tmp_path / "longest.h5", LONGEST[column])
    with pytest.raises(
        ValueError, match=rf"^the {column} of .{{0,70}} takes \d+ bytes, .* {LONGEST[column]}: shorten it$"
    ):
        make_with(tmp_path / "longer.h5", LONGEST[column] + 2)
    assert [p.name for p in tmp_path.iterdir()] == ["longest.h5"]
