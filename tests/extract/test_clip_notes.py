"""Cut, truncated, very short and silent clips are noted, in real files of many formats, and no other clips are."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.extract import (
    Clip,
    HeadCache,
    MediaOptions,
    Request,
    collect_results,
    decode_clip,
    extract_to_cache,
    find_clips,
    head_vectors,
    read_waveform,
)
from calm.extract.clip_notes import describe_clip, describe_clips, is_cut, is_truncated
from calm.extract.models.lalm import LALM
from tests.conftest import noise, tone
from tests.extract.media.videos import numbered_frames, write_video

WINDOW = 5.0
LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("wav", {}),
    ("flac", {}),
    ("aiff", {}),
    ("au", {}),
    ("wav", {"subtype": "MS_ADPCM"}),
]
LOSSY: list[tuple[str, dict[str, Any]]] = [
    ("mp3", {}),
    ("mp3", {"bitrate_mode": "VARIABLE", "compression_level": 0.5}),
    ("ogg", {}),
    ("opus", {"format": "OGG", "subtype": "OPUS"}),
]


def write_sound(path: Path, samples: np.ndarray, rate: int = 16000, **options: Any) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def shorten(path: Path, share: float) -> Path:
    """Keep the first part of a file, as an interrupted download does."""
    content = path.read_bytes()
    path.write_bytes(content[: round(len(content) * share)])
    return path


def notes_of(path: Path, window: float = WINDOW) -> tuple[str, ...]:
    clip = read_waveform(path, 16000, None if math.isinf(window) else window)
    return describe_clip(clip.seconds, clip.decoded_seconds, clip.peak, window)


@pytest.mark.parametrize("window", [WINDOW, math.inf])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize(("suffix", "options"), LOSSLESS + LOSSY)
def test_a_whole_file_of_any_format_gets_no_note(
    tmp_path: Path, suffix: str, options: dict[str, Any], rate: int, window: float
) -> None:
    for n_samples in (rate // 2 + 7, 5 * rate):
        path = write_sound(tmp_path / f"clip.{suffix}", noise(n_samples / rate, rate=rate), rate, **options)
        assert notes_of(path, window) == ()


@pytest.mark.parametrize(
    ("suffix", "options"), [("wav", {}), ("wav", {"subtype": "MS_ADPCM"}), ("aiff", {}), ("au", {}), ("mp3", {})]
)
def test_a_file_that_ends_before_its_header_says_is_truncated(
    tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    path = shorten(write_sound(tmp_path / f"clip.{suffix}", noise(4), **options), 0.5)
    (note,) = notes_of(path)
    match = re.fullmatch(r"truncated: the file ends after (\d\.\d) s of (\d\.\d) s", note)
    assert match is not None and [float(text) for text in match.groups()] == pytest.approx([2, 4], abs=0.2)


def test_a_truncated_file_that_fills_the_window_is_cut(tmp_path: Path) -> None:
    path = shorten(write_sound(tmp_path / "clip.wav", noise(20)), 0.5)
    assert notes_of(path) == ("cut to the first 5 s of 20.0 s",)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_file_written_to_a_pipe_is_not_truncated(tmp_path: Path, size: int) -> None:
    path = write_sound(tmp_path / "clip.wav", noise(2))
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    clip = read_waveform(path, 16000, WINDOW)
    assert clip.seconds == clip.decoded_seconds == 2 and notes_of(path) == ()


def test_the_estimated_length_of_an_mp3_without_a_xing_header_says_nothing(tmp_path: Path) -> None:
    """The estimate of a variable bit rate is wrong by many seconds."""
    rate = 44100
    samples = np.concatenate([np.zeros(10 * rate), noise(10, rate=rate)])
    path = write_sound(tmp_path / "clip.mp3", samples, rate, bitrate_mode="VARIABLE", compression_level=0.5)
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 20) :])  # without the first frame, which holds the Xing header
    clip = read_waveform(path, 16000)
    assert (
        clip.samples is not None
        and len(clip.samples) < 21 * 16000
        and clip.seconds > 25
        and math.isnan(clip.decoded_seconds)
    )
    assert notes_of(path, math.inf) == ()


def test_a_soundtrack_shorter_than_its_video_is_not_truncated(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", numbered_frames(40), wave=tone(440, seconds=2))
    clip = decode_clip(Clip(path, "clip"), MediaOptions("audio-visual"), 16000, WINDOW)
    assert clip.seconds == pytest.approx(4, abs=0.1) and math.isnan(clip.decoded_seconds)
    assert notes_of(path) == ()


@pytest.mark.parametrize(
    ("samples", "notes"),
    [
        (np.ones(1) / 2, ("only 0.06 ms long, padded to 0.1 s",)),
        (np.zeros(16000), ("digital silence",)),
        (np.zeros(1), ("only 0.06 ms long, padded to 0.1 s", "digital silence")),
        (np.zeros(16000 * 7), ("cut to the first 5 s of 7.0 s", "digital silence")),
        (noise(5.05), ()),
        (noise(0.1), ()),
    ],
)
def test_short_silent_and_long_clips_are_noted(tmp_path: Path, samples: np.ndarray, notes: tuple[str, ...]) -> None:
    assert notes_of(write_sound(tmp_path / "clip.wav", samples)) == notes


LENGTHS = st.one_of(st.floats(0, 1e6), st.just(math.nan))


@settings(deadline=None)
@given(seconds=LENGTHS, decoded_seconds=LENGTHS, peak=LENGTHS, window=st.one_of(st.floats(0.1, 1e5), st.just(math.inf)))
def test_a_clip_is_cut_or_truncated_but_not_both(
    seconds: float, decoded_seconds: float, peak: float, window: float
) -> None:
    cut, truncated = is_cut(seconds, decoded_seconds, window), is_truncated(seconds, decoded_seconds, window)
    notes = describe_clip(seconds, decoded_seconds, peak, window)
    assert not (cut and truncated)
    assert [note.split()[0] for note in notes if note[0] in "ct"] == ["cut"] * cut + ["truncated:"] * truncated
    assert ("digital silence" in notes) == (peak == 0)
    if math.isnan(seconds) and math.isnan(peak):
        assert notes == ()


def test_clips_with_one_name_share_their_notes() -> None:
    notes = describe_clips(["a", "b", "a", "a"], [9, 1, 9, 7], [5.1, 1, 5.1, 5.1], [1, 1, 1, 0], WINDOW)
    assert notes == {"a": ("cut to the first 5 s of 9.0 s", "cut to the first 5 s of 7.0 s", "digital silence")}


@pytest.fixture
def unusual_folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "a").mkdir(parents=True)
    folder = tmp_path / "data" / "a"
    write_sound(folder / "good.wav", noise(1))
    write_sound(folder / "long.wav", noise(7))
    write_sound(folder / "short.wav", noise(1 / 16000))
    write_sound(folder / "silent.wav", np.zeros(16000))
    shorten(write_sound(folder / "truncated.wav", noise(4)), 0.25)
    (folder / "broken.wav").write_bytes(b"no sound")
    return tmp_path / "data"


UNUSUAL = {
    "a/long.wav": ("cut to the first 5 s of 7.0 s",),
    "a/short.wav": ("only 0.06 ms long, padded to 0.1 s",),
    "a/silent.wav": ("digital silence",),
    "a/truncated.wav": ("truncated: the file ends after 1.0 s of 4.0 s",),
}


def test_the_report_and_the_cache_note_unusual_clips(unusual_folder: Path, tmp_path: Path, tiny: LALM) -> None:
    clips = find_clips(unusual_folder)
    for _ in range(2):  # the second run only reads what the first one stored
        report = extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny)
        assert report.notes == UNUSUAL and (report.cut, report.silent, report.failed) == (1, 1, 1)
    with HeadCache(report.path) as cache:
        assert cache.notes == UNUSUAL
        np.testing.assert_allclose(cache.decoded_seconds[1:], [1, 5.1, 1 / 16000, 1, 1], atol=2e-3)
        assert np.isnan(cache.decoded_seconds[0])
    assert cache.decoded_seconds[1] == 1  # stays available after closing


def test_collected_results_say_what_the_notes_need(unusual_folder: Path, tiny: LALM) -> None:
    clips = find_clips(unusual_folder)
    results = collect_results(head_vectors(tiny, clips, ["What?"] * len(clips), batch_size=2))
    assert results.seconds is not None and results.decoded_seconds is not None and results.peak is not None
    names = [clips[row].name for row in results.rows]
    notes = describe_clips(names, results.seconds, results.decoded_seconds, results.peak, WINDOW)
    assert names == [clip.name for clip in clips if clip.name != "a/broken.wav"] and notes == UNUSUAL


def test_collected_results_of_no_clip_are_empty() -> None:
    results = collect_results([])
    assert results.seconds is not None and results.seconds.shape == (0,)
