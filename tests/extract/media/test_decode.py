"""The digest of a clip covers the files that the model needs, and the bytes that were decoded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from calm.extract import Clip, MediaOptions, decode_clip, find_clips, read_frames, read_waveform
from calm.extract.media.content import compute_content
from calm.extract.media.decode import select_sources
from tests.conftest import noise, tone
from tests.extract.media.decoded_clips import samples_of
from tests.extract.media.videos import numbered_frames, write_video

RATE = 16000
AUDIO, VISUAL, BOTH = MediaOptions(), MediaOptions("visual"), MediaOptions("audio-visual")


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Make a clip with audio and video in separate files."""
    video_path = write_video(tmp_path / "video.mkv", numbered_frames(8), 4)
    soundfile.write(tmp_path / "clip.wav", noise(1.0, 1, RATE), RATE)
    return Clip(tmp_path / "clip.wav", "clip", video=video_path)


def test_what_a_model_gets_is_what_is_hashed(clip: Clip) -> None:
    digests = {
        media_options.modality: decode_clip(clip, media_options, RATE).content
        for media_options in (AUDIO, VISUAL, BOTH)
    }
    assert digests == {
        "audio": compute_content(clip.audio),
        "visual": compute_content(clip.video),
        "audio-visual": compute_content(clip.audio, clip.video),
    }


def test_frames_in_the_file_of_the_sound_are_hashed_once(tmp_path: Path) -> None:
    video_path = write_video(tmp_path / "video.mkv", numbered_frames(8), 4, noise(1.0, 0, RATE))
    for media_options in (AUDIO, VISUAL, BOTH):
        assert select_sources(Clip(video_path, "video"), media_options) == (video_path,)
        assert decode_clip(Clip(video_path, "video"), media_options, RATE).content == compute_content(video_path)


def test_sound_is_decoded_without_its_video_and_frames_without_their_sound(clip: Clip) -> None:
    Path(str(clip.video)).rename(str(clip.video) + ".away")
    assert decode_clip(clip, AUDIO, RATE).samples is not None
    Path(str(clip.video) + ".away").rename(str(clip.video))
    Path(str(clip.audio)).unlink()
    assert decode_clip(clip, VISUAL, RATE).frames is not None
    with pytest.raises(FileNotFoundError, match=r"no such file: .*clip\.wav"):
        decode_clip(clip, BOTH, RATE)


# --- files that change while they are read ---


def replace_whole(path: Path, pitch: float) -> None:
    """Replace a file by another one of the same size, as rsync and editors do."""
    soundfile.write(path.with_suffix(".new.wav"), tone(pitch), RATE)
    path.with_suffix(".new.wav").replace(path)


def write_over(path: Path, pitch: float) -> None:
    """Overwrite the content of a file, and set its modification time back."""
    before = path.stat()
    with path.open("r+b") as file:
        replace_whole(path.with_name("other.wav"), pitch)
        file.write(path.with_name("other.wav").read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def changing(path: Path, change: Callable[[Path, float], None], times: int) -> Callable[..., Any]:
    """Return a decoder that changes the file after decoding it, for the first few calls."""
    left = [700.0 + 100 * i for i in range(times)]

    def decode(*args: Any) -> Any:
        decoded = read_waveform(*args)
        if left:
            change(path, left.pop(0))
        return decoded

    return decode


@pytest.mark.parametrize("change", [replace_whole, write_over])
def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, change: Callable[[Path, float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(440), RATE)
    monkeypatch.setattr("calm.extract.media.decode.read_waveform", changing(path, change, 1))
    decoded = decode_clip(Clip(path, "clip"), AUDIO, RATE)
    assert decoded.content == compute_content(path)
    np.testing.assert_array_equal(samples_of(decoded), samples_of(read_waveform(path, RATE)))


def test_a_file_that_keeps_changing_fails_its_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(440), RATE)
    monkeypatch.setattr("calm.extract.media.decode.read_waveform", changing(path, replace_whole, 1000))
    with pytest.raises(OSError, match=r"^the file changed while it was read: .*clip\.wav$"):
        decode_clip(Clip(path, "clip"), AUDIO, RATE)


def test_a_video_that_changes_while_it_is_read_is_read_again(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    video_path = Path(str(clip.video))
    left = [write_video(video_path.with_name("later.mkv"), numbered_frames(12), 4)]

    def decode(*args: Any) -> Any:
        decoded_frames = read_frames(*args)
        if left:
            left.pop().replace(video_path)
        return decoded_frames

    monkeypatch.setattr("calm.extract.media.decode.read_frames", decode)
    both = decode_clip(clip, BOTH, RATE)
    assert both.seconds == 3.0
    assert both.content == compute_content(clip.audio, video_path)


def test_samples_in_memory_are_hashed_as_they_are() -> None:
    (clip,) = find_clips([tone(300)])
    assert decode_clip(clip, AUDIO, RATE).content == compute_content(clip.audio)


def test_a_file_of_any_claimed_size_is_hashed_quickly(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.wav"
    sparse.write_bytes(b"RIFF")
    os.truncate(sparse, 2**40)
    known = compute_content(sparse)
    with sparse.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert compute_content(sparse).digest != known.digest
    os.truncate(sparse, 2**40 - 1)
    assert compute_content(sparse).digest != known.digest
