"""Clips are known by what they hold: what has changed is extracted again, what is one clip is one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from calm.extract import LALM, CacheWriter, HeadCache, Request, create_cache, extract_to_cache, find_clips
from calm.extract.cache.creation import extend_cache
from calm.extract.cache.resume import anything_to_try
from calm.extract.media import content
from calm.extract.media.content import content_of
from calm.extract.result import ClipResult
from tests.conftest import tone
from tests.extract.cache.files import CLIPS, FINGERPRINT, REQUEST, SHAPE, vectors_of, write_version_2

Maker = Callable[..., Path]
TINY = Request(model="tiny")


def extract(data: Path, path: Path, tiny: LALM) -> tuple[int, dict[str, str]]:
    report = extract_to_cache(find_clips(data), path, TINY, lalm=tiny)
    return report.new, report.failures


def stored(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["heads"][:]


def test_what_a_clip_was_is_stored_with_its_row(tmp_path: Path) -> None:
    path = write_version_2(tmp_path / "heads.h5")
    with HeadCache(path) as cache:
        known = list(cache.contents())
        assert [what.digest for what in known[:7]] == [content_of(np.full(3, i)).digest for i in range(7)]
        assert known[3].size == 24 and known[7].digest == b""
        assert cache[[6, 7]].digests == [content_of(np.full(3, 6)).digest.hex(), None]
    with CacheWriter(path) as old, extend_cache(old, CLIPS[::-1], ["Hm?"] * 8) as new:
        assert list(new.contents()) == known[::-1]
        assert new.failures == {CLIPS[7].name: "gone"}
        np.testing.assert_array_equal(np.asarray(new[new.done]), vectors_of(8)[6::-1])


def test_audio_that_changed_under_its_name_is_extracted_anew(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    before = stored(path)
    soundfile.write(data / "low/0.wav", tone(2345), 16000)
    assert extract(data, path, tiny) == (1, {})
    changed = (stored(path) != before).any(axis=(1, 2, 3))
    assert changed.tolist() == [False, False, True, False]  # high/0, high/1, low/0, low/1
    whole = tmp_path / "whole.h5"
    extract(data, whole, tiny)
    np.testing.assert_allclose(stored(path).astype(float), stored(whole).astype(float), atol=2e-2)
    assert extract(data, path, tiny) == (0, {})


def test_a_changed_clip_that_cannot_be_read_is_failed_and_not_stale(
    class_folder: Maker, tmp_path: Path, tiny: LALM
) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    (data / "low/0.wav").write_text("not audio")
    new, failures = extract(data, path, tiny)
    assert (new, list(failures)) == (0, ["low/0.wav"])
    with HeadCache(path) as cache:
        assert cache.names[cache.done].tolist() == ["high/0.wav", "high/1.wav", "low/1.wav"]


def test_a_file_that_was_only_touched_or_is_away_stays_done(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    clips = find_clips(data)
    extract(data, path, tiny)
    os.utime(data / "low/0.wav", ns=(1, 1))
    (data / "low/1.wav").unlink()
    assert extract_to_cache(clips, path, TINY.changed(device="nowhere")).new == 0


def test_a_complete_cache_is_gone_over_without_reading_a_clip(
    class_folder: Maker, tmp_path: Path, tiny: LALM, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    clips = find_clips(data)
    monkeypatch.setattr(content, "content_of", lambda *_: pytest.fail("a clip is read"))
    assert extract_to_cache(clips, path, TINY.changed(device="nowhere")).new == 0


def test_a_run_that_is_refused_leaves_changed_clips_as_they_were(
    class_folder: Maker, tmp_path: Path, tiny: LALM
) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    before = path.read_bytes()
    soundfile.write(data / "low/0.wav", tone(2345), 16000)
    with pytest.raises(ValueError, match="differ in max_seconds"):
        extract_to_cache(find_clips(data), path, Request(model="tiny", max_seconds=1.0), lalm=tiny)
    assert path.read_bytes() == before


def test_a_clip_that_failed_in_the_model_is_tried_again_once_it_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"loud")
    clips = find_clips([tmp_path / "a.wav"])
    path = tmp_path / "heads.h5"
    create_cache(path, clips, ["Hm?"], SHAPE, REQUEST, FINGERPRINT)
    with CacheWriter(path) as writer:
        content = content_of(tmp_path / "a.wav")
        writer.write([ClipResult(0, reason="overflow", seconds=1.0, peak=1.0, content=content)])
        assert not anything_to_try(writer, clips, ["Hm?"])
        (tmp_path / "a.wav").write_bytes(b"softer")
        assert anything_to_try(writer, clips, ["Hm?"])
        assert writer.todo.tolist() == [0]
