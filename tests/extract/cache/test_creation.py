"""A new head cache has its full size, describes its clips, and never replaces another file."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from calm.extract import Clip, HeadCache, create_cache, extract_to_cache
from calm.extract.cache.layout import LONGEST
from tests.extract.cache.files import (
    FINGERPRINT,
    REQUEST,
    SHAPE,
    THREE_CLIPS,
    fill_cache,
    make_cache,
    run_in_other_process,
)


def test_a_new_cache_describes_its_clips_all_of_them_pending(tmp_path: Path) -> None:
    with HeadCache(make_cache(tmp_path / "heads.h5")) as cache:
        assert cache.shape == (3, *SHAPE)
        assert cache.names.tolist() == ["a.wav", "räin/b.wav", "c.wav"]
        assert cache.labels.tolist() == ["dog", "räin", ""]
        assert cache.splits.tolist() == ["train", "test", ""]
        assert cache.groups.tolist() == ["1", "2", ""]
        assert cache.status.tolist() == [0, 0, 0]
        assert cache.done.tolist() == []
        assert np.isnan(cache.seconds).all()
        assert (cache.request, cache.fingerprint) == (REQUEST, FINGERPRINT)


def test_the_files_size_and_metadata_do_not_change_while_it_is_filled(tmp_path: Path) -> None:
    path = make_cache(tmp_path / "heads.h5")
    size = path.stat().st_size
    with h5py.File(path) as file:
        places = {name: file[name].id.get_offset() for name in file}
        assert all(file[name].chunks is None and place is not None for name, place in places.items())
    fill_cache(path, [0, 1, 2])
    with h5py.File(path) as file:
        assert {name: file[name].id.get_offset() for name in file} == places
    assert path.stat().st_size == size


def test_file_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        assert make_cache(tmp_path / "heads.h5").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


def test_a_cache_that_exists_is_never_replaced(tmp_path: Path) -> None:
    path = fill_cache(make_cache(tmp_path / "heads.h5"), [0])
    with pytest.raises(FileExistsError, match="was just created by another process"):
        make_cache(path)
    with HeadCache(path) as cache:
        assert cache.done.tolist() == [0]
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_what_a_killed_process_left_while_allocating_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".heads.h5.123.part").write_bytes(b"half")
    make_cache(tmp_path / "heads.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["heads.h5"]


def test_a_file_system_that_cannot_reserve_blocks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with HeadCache(fill_cache(make_cache(tmp_path / "heads.h5"), [1])) as cache:
        assert cache.done.tolist() == [1]


def test_a_full_disk_is_reported_before_anything_is_computed(tmp_path: Path) -> None:
    # A limit on the file size acts like a full disk: both fail when blocks are reserved.
    result = run_in_other_process(
        """
        import resource, signal, sys
        from pathlib import Path
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        from calm.extract import Clip
        from tests.extract.cache.files import make_cache
        make_cache(Path(sys.argv[1]), [Clip("", str(i)) for i in range(100_000)])
        """,
        tmp_path / "heads.h5",
    )
    assert result.stderr.splitlines()[-1].startswith(
        f"OSError: not enough disk space for {tmp_path / 'heads.h5'}, which needs 41.5 MB"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_cache_can_be_made_where_hard_links_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    make_cache(tmp_path / "heads.h5")
    with pytest.raises(FileExistsError):
        make_cache(tmp_path / "heads.h5")
    with HeadCache(tmp_path / "heads.h5") as cache:
        assert len(cache) == 3


@pytest.mark.parametrize("other", [Clip("", "dog\0"), Clip("", "a", "dog\0"), Clip("", "a", group="dog\0")])
def test_a_text_with_a_zero_is_refused_before_it_turns_into_another(tmp_path: Path, other: Clip) -> None:
    with pytest.raises(ValueError, match="contains a NUL character, which a cache cannot store: remove it"):
        make_cache(tmp_path / "heads.h5", [other, THREE_CLIPS[1]])
    assert list(tmp_path.iterdir()) == []


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


def test_an_empty_file_is_taken_as_new(tmp_path: Path) -> None:
    path, link = tmp_path / "heads.h5", tmp_path / "link.h5"
    path.touch(mode=0o600)
    link.symlink_to(path)
    with HeadCache(fill_cache(make_cache(link), [1])) as cache:
        assert cache.done.tolist() == [1]
    assert link.is_symlink() and stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"x")
    with pytest.raises(FileExistsError):
        make_cache(path)
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(("column", "value"), [("label", "é" * 600), ("group", "a\0b"), ("name", "x" * 5000)])
def test_a_text_that_cannot_be_stored_is_named_before_a_model_is_loaded(
    tmp_path: Path, column: str, value: str
) -> None:
    clip = replace(THREE_CLIPS[0], name="d.wav")
    clips = [*THREE_CLIPS, replace(clip, **{column: value})]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"the {column} of '(d.wav|x+)' (takes .* bytes|contains a NUL)") as refused:
        extract_to_cache(clips, tmp_path / "heads.h5", REQUEST.changed(device="nowhere"))
    assert "\n" not in str(refused.value) and not (tmp_path / "heads.h5").exists()
