"""Selections follow numpy, and arrays have the shapes that they report."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from calm.extract import Clip, HeadCache
from calm.extract.cache.selection import find_runs, select_rows, split_into_blocks
from tests.extract.cache.files import CLIPS, SHAPE, WRITERS, vectors_of, write_current_version

INDICES = st.integers(-7, 6)
CHOICES = st.one_of(
    INDICES,
    st.lists(INDICES, max_size=9),
    st.lists(INDICES, max_size=9).map(lambda rows: np.array(rows, dtype=np.int32)),
    st.lists(st.booleans(), min_size=7, max_size=7).map(np.array),
    st.slices(7),
    st.slices(20),
)


@settings(deadline=None)
@given(first=CHOICES)
def test_any_choice_is_numpys(first: Any) -> None:
    whole = np.arange(7)
    index = np.array(first, dtype=int) if isinstance(first, list) else first
    expected = np.atleast_1d(whole[index])
    assert np.asarray(select_rows(range(7), first)).tolist() == expected.tolist()
    assert np.asarray(select_rows(whole[::-1].copy(), first)).tolist() == np.atleast_1d(whole[::-1][index]).tolist()


@settings(deadline=None)
@given(first=st.slices(7), second=st.slices(7))
def test_a_slice_of_a_slice_takes_no_room(first: slice, second: slice) -> None:
    chosen = select_rows(select_rows(range(7), first), second)
    assert isinstance(chosen, range)
    assert list(chosen) == np.arange(7)[first][second].tolist()


@pytest.mark.parametrize("chosen", [7, -8, [0, 7], [True], np.ones(8, bool), 1.5, "a", [[0]], None, True])
def test_what_chooses_no_clip_is_an_index_error(chosen: object) -> None:
    with pytest.raises(IndexError):
        select_rows(range(7), chosen)


@given(rows=st.lists(st.integers(0, 30), max_size=20).map(lambda rows: np.array(rows, dtype=np.int64)))
def test_runs_and_blocks_cover_every_row_once(rows: np.ndarray) -> None:
    assert [i for run in find_runs(rows) for i in range(run.start, run.stop)] == list(range(len(rows)))
    assert all((np.diff(rows[run]) == 1).all() for run in find_runs(rows))
    found = []
    for there, which in split_into_blocks(rows, 5):
        assert there.stop - there.start <= 5
        assert set(rows[which].tolist()) <= set(range(there.start, there.stop))
        found += which.tolist()
    assert sorted(found) == list(range(len(rows)))


def test_a_cache_and_its_rows_are_arrays_of_the_shapes_that_they_report(tmp_path: Path) -> None:
    with HeadCache(write_current_version(tmp_path / "heads.h5", CLIPS[:7], done=7)) as cache:
        assert cache.shape == cache[:].shape == np.asarray(cache).shape == np.asarray(cache[:]).shape == (7, *SHAPE)
        np.testing.assert_array_equal(np.asarray(cache), vectors_of(7))
        np.testing.assert_array_equal(np.asarray(cache[[4, 1]], dtype=np.float64), vectors_of(7)[[4, 1]])
        assert cache.dtype == cache[:].dtype == np.asarray(cache).dtype == np.float32
        assert cache[1:3].read().shape == cache.read([1, 2]).shape == (2, 6, 4)
        assert cache[2:].read(slice(1, 3), slice(2, 5)).shape == (2, 3, 4)
        assert [row.names.tolist() for row in cache[2:4]] == [[cache.names[2]], [cache.names[3]]]
        for kind in (cache, cache[:]):
            assert len(list(kind)) == len(kind) == 7
            np.testing.assert_array_equal(np.concatenate([np.asarray(row) for row in kind]), vectors_of(7))
        with pytest.raises(ValueError, match="cannot be read without a copy"):
            np.array(cache, copy=False)


@pytest.mark.parametrize("version", WRITERS)
def test_a_closed_cache_keeps_its_small_columns_and_reports_that_it_is_closed(tmp_path: Path, version: int) -> None:
    path = WRITERS[version](tmp_path / "heads.h5")
    with HeadCache(path) as cache:
        labels = cache.labels.tolist()
    with HeadCache(path) as another:
        pass
    assert cache.labels.tolist() == another.labels.tolist() == labels
    assert cache.groups.tolist() == [clip.group for clip in CLIPS] and cache.texts.tolist() == ["Hm?"] * 8
    assert cache.peak[0] == another.peak[0] == 0.5
    for read in (lambda: cache.names, lambda: cache.failures, lambda: cache.read([0])):
        with pytest.raises(ValueError, match="has been closed"):
            read()


def test_choosing_a_few_of_very_many_clips_takes_little_room() -> None:
    tracemalloc.start()
    chosen = select_rows(select_rows(range(10**9), slice(None)), [5, -1])
    assert (chosen[0], chosen[1]) == (5, 10**9 - 1)
    assert tracemalloc.get_traced_memory()[1] < 10**5
    tracemalloc.stop()


@settings(deadline=None)
@given(first=CHOICES)
def test_rows_are_chosen_with_an_ellipsis_or_alone_in_a_tuple(first: Any) -> None:
    alone = np.asarray(select_rows(range(7), first)).tolist()
    assert np.asarray(select_rows(range(7), (first, ...))).tolist() == alone
    assert np.asarray(select_rows(range(7), (first,))).tolist() == alone


@pytest.mark.parametrize("chosen", [(), (1, 2), (1, ..., 2), (..., 1), (slice(None), 0), ((1, 2), (3, 4))])
def test_other_tuples_say_what_is_taken(chosen: Any) -> None:
    with pytest.raises(IndexError, match=r"by index, list of indices, mask or slice, alone or before an Ellipsis"):
        select_rows(range(7), chosen)


@pytest.mark.parametrize("beyond", [2**63, 2**64 - 1])
def test_an_index_beyond_all_numbers_does_not_wrap(beyond: int) -> None:
    for chosen in (np.uint64(beyond), np.array([0, beyond], dtype=np.uint64)):
        with pytest.raises(IndexError, match=f"clip index {beyond} is out of range for 7 clips"):
            select_rows(range(7), chosen)
    assert np.asarray(select_rows(range(7), np.array([6, 0], dtype=np.uint64))).tolist() == [6, 0]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_grid_search_takes_a_cache_and_its_rows(tmp_path: Path, n_jobs: int) -> None:
    from sklearn.model_selection import GridSearchCV

    from calm import CALMClassifier

    clips = [Clip("", str(i), "ab"[i % 2]) for i in range(12)]
    with HeadCache(write_current_version(tmp_path / "heads.h5", clips, done=12)) as cache:
        search = GridSearchCV(CALMClassifier(), {"top_heads": [1, 2]}, cv=2, n_jobs=n_jobs, error_score="raise")
        for X in (cache, cache[2:]):
            labels = cache[:].labels[-len(X) :]
            there = clone(search).fit(np.asarray(X), labels).cv_results_["mean_test_score"]
            np.testing.assert_array_equal(clone(search).fit(X, labels).cv_results_["mean_test_score"], there)
