"""A pickled cache opens the same clips again, or raises an error if the file has other clips."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calm.extract import CacheWriter, Clip, HeadCache, create_cache, extend_cache
from tests.extract.cache.files import CLIPS, FINGERPRINT, REQUEST, SHAPE, WRITERS, vectors_of, write_current_version


def pickled(path: Path) -> list[bytes]:
    with HeadCache(path) as cache:
        return [pickle.dumps(cache), pickle.dumps(cache[2:5])]


@pytest.mark.parametrize("version", WRITERS)
def test_a_pickled_cache_opens_after_a_change_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    (away := tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path)
    with HeadCache(WRITERS[version](Path("heads.h5"))) as cache:
        monkeypatch.chdir(away)
        whole, rows = (pickle.loads(pickle.dumps(X)) for X in (cache, cache[2:5]))
    assert whole.names.tolist() == [clip.name for clip in CLIPS]
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(rows))), vectors_of(8)[2:5])


def test_more_rows_or_a_copy_are_the_same_clips(tmp_path: Path) -> None:
    path = write_current_version(tmp_path / "heads.h5", done=3)
    before = pickled(path)
    shutil.copy(path, tmp_path / "copy.h5")
    (tmp_path / "copy.h5").replace(path)
    write_current_version(tmp_path / "filled.h5", done=7)
    (tmp_path / "filled.h5").replace(path)
    for stored in before:
        pickle.loads(stored)


def extend(path: Path) -> None:
    clips = [Clip("", "first"), *CLIPS]
    with CacheWriter(path) as writer, extend_cache(writer, clips, ["Hm?"] * len(clips)):
        pass


def create_again(path: Path, clips: Any = CLIPS, text: str = "Hm?", **changes: Any) -> None:
    path.unlink()
    create_cache(path, clips, [text] * len(clips), SHAPE, REQUEST, replace(FINGERPRINT, **changes))


CHANGES = {
    "longer": extend,
    "other order": lambda path: create_again(path, CLIPS[::-1]),
    "other question": lambda path: create_again(path, text="Eh?"),
    "other model": lambda path: create_again(path, weights="other"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_cache_of_other_clips_is_not_read_in_its_place(tmp_path: Path, change: str) -> None:
    path = write_current_version(tmp_path / "heads.h5")
    before = pickled(path)
    CHANGES[change](path)
    for stored in before:
        with pytest.raises(ValueError, match=r"heads\.h5 has other clips than when it was pickled") as error:
            pickle.loads(stored)
        assert "\n" not in str(error.value)


def test_what_was_replaced_while_it_was_open_is_pickled_as_what_it_is(tmp_path: Path) -> None:
    path = write_current_version(tmp_path / "heads.h5")
    with HeadCache(path) as cache:
        create_again(path, [Clip("", "first"), *CLIPS])
        stored = pickle.dumps(cache[0])
    with pytest.raises(ValueError, match="has other clips than"):
        pickle.loads(stored)


def test_a_cache_is_pickled_while_it_is_open(tmp_path: Path) -> None:
    with HeadCache(write_current_version(tmp_path / "heads.h5")) as cache:
        pass
    with pytest.raises(ValueError, match="has been closed"):
        pickle.dumps(cache)
