"""Clips are identified by their content: a changed clip is extracted again, an unchanged one is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile

from calm.extract import (
    LALM,
    CacheWriter,
    Clip,
    HeadCache,
    Request,
    create_cache,
    extract_to_cache,
    find_clips,
    read_waveform,
)
from calm.extract.cache.creation import extend_cache
from calm.extract.cache.resume import find_changes, has_pending_work
from calm.extract.media import content
from calm.extract.media.content import compute_content
from calm.extract.result import ClipResult
from tests.conftest import tone
from tests.extract.cache.files import CLIPS, FINGERPRINT, REQUEST, SHAPE, vectors_of, write_current_version

Maker = Callable[..., Path]
TINY = Request(model="tiny")


def extract(data: Path, path: Path, tiny: LALM) -> tuple[int, dict[str, str]]:
    report = extract_to_cache(find_clips(data), path, TINY, lalm=tiny)
    return report.new, report.failures


def stored(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["heads"][:]


def test_what_a_clip_was_is_stored_with_its_row(tmp_path: Path) -> None:
    path = write_current_version(tmp_path / "heads.h5")
    with HeadCache(path) as cache:
        known = list(cache.contents())
        assert [what.digest for what in known[:7]] == [compute_content(np.full(3, i)).digest for i in range(7)]
        assert known[3].size == 24 and known[7].digest == b""
        assert cache[[6, 7]].digests == [compute_content(np.full(3, 6)).digest.hex(), None]
    with CacheWriter(path) as old, extend_cache(old, CLIPS[::-1], ["Hm?"] * 8) as new:
        assert list(new.contents()) == known[::-1]
        assert new.failures == {CLIPS[7].name: "gone"}
        np.testing.assert_array_equal(np.asarray(new[new.done]), vectors_of(8)[6::-1])


def test_audio_that_changed_under_its_name_is_extracted_again(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
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


def test_a_complete_cache_is_checked_without_reading_a_clip(
    class_folder: Maker, tmp_path: Path, tiny: LALM, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    clips = find_clips(data)
    monkeypatch.setattr(content, "compute_content", lambda *_: pytest.fail("a clip is read"))
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
        content = compute_content(tmp_path / "a.wav")
        writer.write([ClipResult(0, reason="overflow", seconds=1.0, peak=1.0, content=content)])
        changes = find_changes(writer, clips, ["Hm?"])
        assert changes.rows.tolist() == [] and not has_pending_work(writer, clips, ["Hm?"], changes)
        (tmp_path / "a.wav").write_bytes(b"softer")
        changes = find_changes(writer, clips, ["Hm?"])
        assert changes.rows.tolist() == [0] and has_pending_work(writer, clips, ["Hm?"], changes)
        assert writer.pending.tolist() == []  # looking for changes does not change the cache
        with extend_cache(writer, clips, ["Hm?"], without=changes.rows) as new:
            assert new.pending.tolist() == [0]
            assert np.isnan(new.seconds[0]) and new.failures == {}


def test_touched_clips_are_hashed_once_and_their_new_time_is_stored(
    class_folder: Maker, tmp_path: Path, tiny: LALM, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    clips, before = find_clips(data), path.stat()
    for clip in clips[:2]:
        os.utime(str(clip.audio), ns=(1, 1))
    assert extract_to_cache(clips, path, TINY.changed(device="nowhere")).new == 0
    assert path.stat().st_ino == before.st_ino
    with HeadCache(path) as cache:
        assert [known.modified == 1 for known in cache.contents()] == [True, True, False, False]
        assert [known.digest for known in cache.contents()] == [compute_content(clip.audio).digest for clip in clips]
    monkeypatch.setattr(content, "compute_content", lambda *_: pytest.fail("a clip is digested"))
    assert extract_to_cache(clips, path, TINY.changed(device="nowhere")).new == 0


def test_touched_and_changed_clips_are_distinguished_in_one_run(
    class_folder: Maker, tmp_path: Path, tiny: LALM
) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    os.utime(data / "high/0.wav", ns=(1, 1))
    soundfile.write(data / "low/1.wav", tone(2345), 16000)
    assert extract(data, path, tiny) == (1, {})
    with HeadCache(path) as cache:
        assert list(cache.contents()) == [compute_content(clip.audio) for clip in find_clips(data)]


def test_an_open_reader_keeps_its_rows(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    code = """if True:
        import sys
        import numpy as np
        from calm.extract import HeadCache
        with HeadCache(sys.argv[1]) as cache:
            before, known = np.asarray(cache), cache[:].digests
            print("read", flush=True)
            sys.stdin.readline()  # meanwhile a clip changes and is extracted again
            print((np.asarray(cache) == before).all(), cache[:].digests == known)
    """
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "read\n"
        before = stored(path)
        soundfile.write(data / "low/0.wav", tone(2345), 16000)
        assert extract(data, path, tiny) == (1, {})
        assert (stored(path) != before).any()
        output, _ = reader.communicate("\n", timeout=60)
    assert output == "True True\n"


@pytest.mark.parametrize("modality", ["audio", "visual"])
def test_only_changes_of_the_files_that_the_model_gets_count(tmp_path: Path, modality: str) -> None:
    sound, video_path = tmp_path / "a.wav", tmp_path / "a.mkv"
    sound.write_bytes(b"sound")
    video_path.write_bytes(b"frames")
    clips = [Clip(sound, "a.wav", video=video_path)]
    path = tmp_path / "heads.h5"
    request = REQUEST.changed(modality=modality)
    create_cache(path, clips, ["Hm?"], SHAPE, request, FINGERPRINT)
    given, other = (sound, video_path) if modality == "audio" else (video_path, sound)
    with CacheWriter(path) as writer:
        writer.write([ClipResult(0, vectors_of(1)[0], "", 1.0, 1.0, compute_content(given))])
        other.write_bytes(b"something else")
        assert find_changes(writer, clips, ["Hm?"]).rows.tolist() == []
        other.unlink()
        given.write_bytes(b"something else")
        assert find_changes(writer, clips, ["Hm?"]).rows.tolist() == [0]


def test_the_content_of_an_unreadable_sound_does_not_need_its_video(tmp_path: Path, tiny: LALM) -> None:
    (tmp_path / "a.wav").write_text("not audio")
    clips = [Clip(tmp_path / "a.wav", "a.wav", video=tmp_path / "nowhere.mkv")]
    report = extract_to_cache(clips, tmp_path / "heads.h5", TINY, lalm=tiny)
    assert list(report.failures) == ["a.wav"]
    with HeadCache(tmp_path / "heads.h5") as cache:
        assert list(cache.contents()) == [compute_content(tmp_path / "a.wav")]


def test_a_clip_that_is_being_written_fails_with_that_and_is_tried_again(
    class_folder: Maker, tmp_path: Path, tiny: LALM, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    written = data / "low/0.wav"

    def decode(audio: Any, *how: Any) -> Any:
        sound = read_waveform(audio, *how)
        if audio == written:
            soundfile.write(written, tone(300 + np.random.default_rng().uniform(1, 99)), 16000)
        return sound

    with monkeypatch.context() as patched:
        patched.setattr("calm.extract.media.decode.read_waveform", decode)
        assert extract(data, path, tiny) == (3, {"low/0.wav": f"the file changed while it was read: {written}"})
    assert extract(data, path, tiny) == (1, {})
    with HeadCache(path) as cache:
        assert list(cache.contents()) == [compute_content(clip.audio) for clip in find_clips(data)]


def test_a_change_that_keeps_size_and_time_is_not_seen(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    """This is the limit of the comparison, which the documentation states."""
    data, path = class_folder(2), tmp_path / "heads.h5"
    extract(data, path, tiny)
    changed = data / "low/0.wav"
    before = changed.stat()
    soundfile.write(changed, tone(2345), 16000)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert changed.stat().st_size == before.st_size
    assert extract(data, path, tiny) == (0, {})
    os.utime(changed)  # a new time: the digest is compared
    assert extract(data, path, tiny) == (1, {})
