"""A reader returns the rows that were written, and rejects files that are not a head cache."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.extract import CacheWriter, Clip, HeadCache, check_compatible
from tests.extract.cache.files import (
    FINGERPRINT,
    SHAPE,
    fill_cache,
    make_cache,
    run_in_other_process,
    vectors_of_rows,
)


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_rows_written_are_read_back_in_any_order(tmp_path: Path, storage: str) -> None:
    with HeadCache(fill_cache(make_cache(tmp_path / "heads.h5", storage=storage), [0, 2])) as cache:
        assert cache.done.tolist() == [0, 2]
        np.testing.assert_array_equal(
            cache.read(np.array([2, 0, 2])), vectors_of_rows(np.array([2, 0, 2])).reshape(3, 6, 4)
        )
        assert cache.seconds[0] == 2.5


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 11), max_size=20))
def test_any_selection_reads_the_rows_it_names(tmp_path_factory: pytest.TempPathFactory, rows: list[int]) -> None:
    path = tmp_path_factory.mktemp("c") / "heads.h5"
    fill_cache(make_cache(path, [Clip("", str(i)) for i in range(12)]), list(range(12)))
    with HeadCache(path) as cache:
        chosen = cache[np.array(rows, dtype=int)]
        assert chosen.shape == (len(rows), *SHAPE)
        np.testing.assert_array_equal(np.asarray(chosen), vectors_of_rows(np.array(rows, dtype=int)))
        blocks = [chosen.read(part) for part in (slice(0, 5), slice(5, 10), slice(10, None))]
        assert sum(map(len, blocks)) == len(rows)


def test_rows_are_counted_from_the_end_and_never_beyond(tmp_path: Path) -> None:
    with HeadCache(fill_cache(make_cache(tmp_path / "heads.h5"), [0, 1, 2])) as cache:
        np.testing.assert_array_equal(cache.read(np.array([-1])), vectors_of_rows(np.array([2])).reshape(1, 6, 4))
        assert cache[1].shape == cache[-1].shape == (1, *SHAPE)
        assert cache[1:][0].names.tolist() == ["räin/b.wav"]
        with pytest.raises(IndexError):
            cache.read(np.array([3]))


def test_rows_without_vectors_cannot_be_read(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    with (
        HeadCache(path) as cache,
        pytest.raises(ValueError, match="1 of the selected clips have no head vectors, such as 'c.wav'"),
    ):
        cache.read(np.array([0, 2]))


@pytest.mark.parametrize("looked_at_before", [True, False])
def test_small_columns_can_be_read_after_closing(tmp_path: Path, looked_at_before: bool) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0, 2])

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


# --- files that are rejected ---


def test_vectors_that_are_no_numbers_are_damage(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    with h5py.File(path, "r+") as file:
        file["heads"][0, 0, 0, 0] = np.nan
    with (
        HeadCache(path) as cache,
        pytest.raises(ValueError, match="is damaged: it contains NaN"),
    ):
        cache.read(np.array([0]))


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "heads.h5", [Clip("", str(i)) for i in range(500)])
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
    path = make_cache(tmp_path / "heads.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ValueError, match="format version 99.*update calm"):
        HeadCache(path)


def test_a_cache_without_one_of_its_datasets_is_damaged(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "heads.h5")
    with h5py.File(path, "r+") as file:
        del file["label"]
    with pytest.raises(ValueError, match="is damaged: .*label"):
        HeadCache(path)


def test_a_cache_that_the_system_cannot_lock_is_not_called_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_cache(tmp_path / "heads.h5")

    def no_locks(*_: object, **__: object) -> None:
        raise OSError("Unable to open file (errno = 37, error message = 'No locks available')")

    monkeypatch.setattr(h5py, "File", no_locks)
    with pytest.raises(OSError, match="cannot open .*heads.h5: No locks available"):
        HeadCache(path)


def test_a_named_pipe_is_refused_before_anybody_waits_at_it(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "heads.h5")
    (link := tmp_path / "link.h5").symlink_to(pipe)
    code = """
        import sys
        from pathlib import Path
        from calm.extract import CacheWriter, HeadCache
        from tests.extract.cache.files import make_cache
        for opener in (HeadCache, CacheWriter, make_cache):
            try:
                opener(Path(sys.argv[1]))
            except OSError as error:
                print(error)
        """
    for path in (pipe, link):
        output_lines = run_in_other_process(code, path).stdout.splitlines()
        assert output_lines == [f"{path} is a named pipe, not a file"] * 3
    assert {p.name for p in tmp_path.iterdir()} == {"heads.h5", "link.h5"}


def test_another_fingerprint_is_refused_naming_all_that_differs() -> None:
    other = replace(FINGERPRINT, prompt="Eh?", tokens=2)
    with pytest.raises(ValueError, match="prompt \\('Hm\\?' in A, 'Eh\\?' in B\\); tokens \\(1 in A, 2 in B\\)"):
        check_compatible(FINGERPRINT, other, "A", "B")
    check_compatible(FINGERPRINT, replace(FINGERPRINT), "A", "B")


def test_an_array_of_a_cache_is_that_of_all_its_rows(tmp_path: Path) -> None:
    with HeadCache(fill_cache(make_cache(tmp_path / "heads.h5"), [0, 1, 2])) as cache:
        assert np.asarray(cache).shape == (3, *SHAPE)
        np.testing.assert_array_equal(np.asarray(cache), np.asarray(cache[:]))
        assert np.array(cache, dtype=np.float64).dtype == np.float64


def test_a_cache_with_clips_without_vectors_is_no_array(tmp_path: Path) -> None:
    with (
        HeadCache(fill_cache(make_cache(tmp_path / "heads.h5"), [0])) as cache,
        pytest.raises(
            ValueError, match=r"^2 of the selected clips have no head vectors, such as .*: select from"
        ) as no,
    ):
        np.asarray(cache)
    assert "\n" not in str(no.value)
