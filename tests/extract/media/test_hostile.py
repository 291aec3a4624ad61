"""A damaged or malicious clip fails alone: with a reason, quickly, and in little memory."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calm.extract import AudioError, Clip, MediaOptions, VideoError, decode_clip, find_clips, read_frames, read_waveform
from calm.extract.media.audio import audio_duration
from calm.extract.media.content import UNKNOWN, compute_content, compute_content_if_readable
from tests.conftest import noise, tone
from tests.extract.media.decoded_clips import frames_of, samples_of
from tests.extract.media.videos import RATE, numbered_frames, write_video

BOTH = MediaOptions("audio-visual")


@contextmanager
def memory_of(gigabytes: float) -> Iterator[None]:
    """Limit how much more memory this process can take inside the block."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + int(gigabytes * 2**30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# --- pipes, sockets, devices and folders ---


@pytest.mark.parametrize("name", ["clip.wav", "clip.mp4"])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder"])
def test_what_is_no_file_fails_its_own_clip_and_is_not_opened(tmp_path: Path, name: str, kind: str) -> None:
    """Run in another process, which is killed if it blocks on the pipe."""
    code = f"""if True:
        import os, socket
        from calm.extract import Clip, MediaOptions, decode_clip
        from calm.extract.media.audio import audio_duration
        from calm.extract.media.content import compute_content
        path, kind = {str(tmp_path / name)!r}, {kind!r}
        if kind == "pipe": os.mkfifo(path)
        if kind == "socket": socket.socket(socket.AF_UNIX).bind(path)
        if kind == "device": os.symlink("/dev/zero", path)
        if kind == "folder": os.mkdir(path)
        clip = Clip(path, "clip")
        for ask in (lambda: decode_clip(clip, MediaOptions(), 16000),
                    lambda: decode_clip(clip, MediaOptions("visual"), 16000), lambda: compute_content(path)):
            try: ask()
            except OSError as error: print(error)
        print(audio_duration(path, 16000))
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    words = {"pipe": "a named pipe", "socket": "a socket", "device": "a device", "folder": "a folder"}[kind]
    assert process.stdout.splitlines() == [f"{tmp_path / name} is {words}, not a file"] * 3 + ["0.0"]


def test_a_manifest_may_name_a_pipe_without_anybody_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "list.csv").write_text("path,label\npipe.wav,dog\n")
    (clip,) = find_clips(tmp_path / "list.csv")
    with pytest.raises(OSError, match=r"pipe\.wav is a named pipe, not a file"):
        decode_clip(clip, MediaOptions(), RATE)


def test_a_file_that_may_not_be_a_name_is_not_there(tmp_path: Path) -> None:
    for name in ("a\0b.wav", "\ud800.wav", "a" * 5000 + ".wav"):
        with pytest.raises(OSError):
            decode_clip(Clip(tmp_path / name, "clip"), MediaOptions(), RATE)
        with pytest.raises(OSError):
            compute_content(tmp_path / name)
        assert audio_duration(tmp_path / name, RATE) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", tone(440), RATE)
    (tmp_path / "clip.wav").chmod(0)
    with pytest.raises(PermissionError, match=r"^Permission denied: .*clip\.wav$"):
        read_waveform(tmp_path / "clip.wav", RATE)


def test_a_video_that_lists_other_files_opens_none_of_them(tmp_path: Path) -> None:
    write_video(tmp_path / "other.mkv", numbered_frames(4), 4, noise(1.0, 0, RATE))
    (tmp_path / "clip.mkv").write_text("ffconcat version 1.0\nfile other.mkv\n")
    with pytest.raises(VideoError, match="not readable"):
        read_frames(tmp_path / "clip.mkv", 2.0, 10**6)
    with pytest.raises(AudioError, match="not readable"):
        read_waveform(tmp_path / "clip.mkv", RATE)


def test_links_to_files_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "store.wav", tone(440), RATE)
    (tmp_path / "clip.wav").symlink_to("store.wav")
    decoded = decode_clip(Clip(tmp_path / "clip.wav", "clip"), MediaOptions(), RATE)
    assert decoded.content == compute_content(tmp_path / "store.wav")


# --- false headers ---


def wav_at(path: Path, rate: int, samples: int = 400_000, channels: int = 1) -> Path:
    """Write a valid wav whose header claims a rate that soundfile would not write."""
    data = np.zeros(samples * channels, dtype="<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, channels, rate, 0, 2, 16)
    path.write_bytes(head + struct.pack("<4sI", b"data", len(data)) + data)
    return path


@pytest.mark.parametrize("rate", [10_000_001, 10**9, 2**31 - 1])
@pytest.mark.parametrize("max_seconds", [None, 30.0])
def test_a_rate_that_no_recorder_has_fails_its_own_clip(tmp_path: Path, rate: int, max_seconds: float | None) -> None:
    path = wav_at(tmp_path / "clip.wav", rate)
    with memory_of(4), pytest.raises(AudioError, match=f"invalid sampling rate of {rate} Hz: expected 1 Hz to 10"):
        read_waveform(path, RATE, max_seconds)
    with pytest.raises(AudioError, match="invalid sampling rate"):
        read_waveform((np.zeros(100), rate), RATE)


def test_rates_of_ultrasound_and_infrasound_are_taken(tmp_path: Path) -> None:
    for rate in (100, 384_000, 2_000_000, 10_000_000):
        decoded = read_waveform(wav_at(tmp_path / "clip.wav", rate, rate // 10), RATE)
        assert (len(samples_of(decoded)), decoded.seconds) == (RATE // 10, 0.1)


def test_a_clip_of_too_many_samples_to_be_read_whole_says_so(tmp_path: Path) -> None:
    path = wav_at(tmp_path / "clip.wav", 1, 20_000)  # 40 kB whose header claims five hours
    with memory_of(2), pytest.raises(AudioError, match=r"more than 268435456 samples at 16000 Hz: set max_seconds"):
        read_waveform(path, RATE)
    assert len(samples_of(read_waveform(path, RATE, max_seconds=2.0))) == 2 * RATE


def test_many_channels_take_little_memory(tmp_path: Path) -> None:
    path = wav_at(tmp_path / "clip.wav", 48_000, 50_000, 1024)  # 200 MB of float32 if decoded at once
    with memory_of(0.1):
        assert read_waveform(path, RATE).seconds == 50_000 / 48_000


def test_a_length_that_the_header_invents_takes_no_memory(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.flac", noise(0.5, 0, RATE), RATE)
    whole = bytearray((tmp_path / "clip.flac").read_bytes())
    whole[21] |= 0x0F  # the total number of samples, 36 bits of STREAMINFO
    whole[22:26] = b"\xff\xff\xff\xff"
    (tmp_path / "clip.flac").write_bytes(whole)
    with memory_of(2):
        try:
            assert len(samples_of(read_waveform(tmp_path / "clip.flac", RATE))) <= RATE
        except AudioError as error:
            assert "not readable as audio" in str(error)


def test_frames_of_implausible_size_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered_frames(4), 4, codec="mpeg4")
    whole = path.read_bytes()
    assert whole.count(struct.pack(">HH", 64, 48)) >= 1
    path.write_bytes(whole.replace(struct.pack(">HH", 64, 48), struct.pack(">HH", 30_000, 30_000)))
    with memory_of(2):
        try:
            read_frames(path, 2.0, 10**6)
        except VideoError as error:
            assert str(error)


def test_a_frame_that_lasts_for_years_is_refused_unless_the_video_is_cut(tmp_path: Path) -> None:
    frames = (numbered_frames(2, 64, 64), 1e-6)
    with memory_of(2), pytest.raises(VideoError, match=r"frames take more than 2 GiB: set max_seconds"):
        read_frames(frames, 2.0, 10**6)
    assert len(frames_of(read_frames(frames, 2.0, 10**6, max_seconds=2.0))) == 4


def test_memory_that_does_not_suffice_fails_its_own_clip() -> None:
    integers = np.zeros(30_000_000, dtype=np.int16)  # 240 MB as float64
    frames = np.zeros((400, 512, 512, 3), dtype=np.uint8)
    with memory_of(0.15):
        with pytest.raises(AudioError, match="not enough memory to decode it"):
            read_waveform((integers, 48_000), RATE)
        with pytest.raises(VideoError, match="not enough memory"):
            read_frames((frames, 2.0), 2.0, 10**6)


# --- files that cannot seek ---


def _writable() -> list[tuple[str, str]]:
    skipped = {"RAW", "SD2"}  # without a header; in two files
    return [(f, s) for f in soundfile.available_formats() if f not in skipped for s in soundfile.available_subtypes(f)]


@pytest.mark.parametrize(("form", "subtype"), _writable())
def test_every_kind_of_file_that_can_be_written_is_read_whole_and_in_part(
    tmp_path: Path, form: str, subtype: str
) -> None:
    wave = tone(440, 2.0, rate=8000)
    path = tmp_path / f"clip.{form.lower()}"
    try:
        soundfile.write(path, wave, 8000, subtype=subtype, format=form)
    except (soundfile.SoundFileError, ValueError):
        return  # soundfile lists this format, but cannot write it at this rate
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
    decoded, beginning = samples_of(read_waveform(path, rate)), samples_of(read_waveform(path, rate, max_seconds=0.5))
    assert len(decoded) == pytest.approx(16000, abs=1600)
    loud = np.abs(np.fft.rfft(decoded[:16000]))
    assert loud.argmax() * rate / 16000 == pytest.approx(440 * rate / 8000, abs=rate / 1000)
    np.testing.assert_array_equal(beginning, decoded[: rate // 2])


# --- arrays ---


@pytest.mark.parametrize(
    "rate", [0, -1, 0.5, float("nan"), float("inf"), -float("inf"), "16000", True, None, 2j, [8000], 10**400]
)
def test_an_invalid_rate_fails_its_own_clip(rate: Any) -> None:
    with pytest.raises(AudioError, match="Hz"):
        read_waveform((np.zeros(100, dtype=np.float32), rate), RATE)
    assert audio_duration((np.zeros(100), rate), RATE) == 0


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "2", True, None])
def test_frames_at_an_invalid_rate_fail_their_own_clip(rate: Any) -> None:
    with pytest.raises(VideoError, match="invalid frame rate"):
        read_frames((np.zeros((2, 8, 8, 3), dtype=np.uint8), rate), 2.0, 10**6)


@pytest.mark.parametrize(
    "audio",
    [
        [[1.0], [1.0, 2.0]],
        (np.zeros(5), 8000, 1),
        (np.zeros(5),),
        np.array(["a", "b"]),
        np.array([None, 1.0]),
        np.zeros((5, 0)),
        np.float32(1.0),
        np.full(100, 1e300),
        np.full((100, 2), np.finfo(np.float32).max),
        None,
    ],
    ids=repr,
)
def test_an_invalid_waveform_fails_its_own_clip(audio: Any) -> None:
    with pytest.raises(AudioError):
        read_waveform(audio, RATE)
    assert audio_duration(audio, RATE) >= 0


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 0, 0, 3), (2, 0, 8, 3), (2, 8, 8, 4), (2, 8, 8)])
def test_an_invalid_video_fails_its_own_clip(shape: tuple[int, ...]) -> None:
    with pytest.raises(VideoError):
        read_frames((np.zeros(shape, dtype=np.uint8), 2.0), 2.0, 10**6)


# --- corrupted bytes ---

_SUFFIXES = ("wav", "flac", "ogg", "mp3", "aiff", "caf", "gsm.wav", "mp4", "mkv", "m4a")


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Make small valid files of many kinds."""
    folder, wave = tmp_path_factory.mktemp("small"), noise(0.2, 0, 8000)
    for suffix in ("wav", "flac", "ogg", "mp3", "aiff", "caf"):
        soundfile.write(folder / f"clip.{suffix}", wave, 8000)
    soundfile.write(folder / "clip.gsm.wav", wave, 8000, subtype="GSM610")
    write_video(folder / "clip.mp4", numbered_frames(4), 20, wave, codec="libx264", sound_codec="aac")
    write_video(folder / "clip.mkv", numbered_frames(4), 20, wave)
    write_video(folder / "clip.m4a", None, wave=wave, sound_codec="aac")
    return {suffix: (folder / f"clip.{suffix}").read_bytes() for suffix in _SUFFIXES}


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("suffix", _SUFFIXES)
@given(data=st.data(), max_seconds=st.none() | st.just(1.0))
def test_changed_bytes_fail_their_own_clip_at_most(
    small_files: dict[str, bytes], tmp_path: Path, suffix: str, data: st.DataObject, max_seconds: float | None
) -> None:
    whole = bytearray(small_files[suffix])
    place = st.integers(0, min(200, len(whole) - 1)) | st.integers(0, len(whole) - 1)
    for at, byte in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=12)):
        whole[at] = byte
    cut = data.draw(st.none() | st.integers(0, len(whole)))
    path = tmp_path / f"clip.{suffix}"
    path.write_bytes(whole[:cut])
    clip = Clip(path, "clip")
    assert audio_duration(path, RATE) >= 0
    for media_options in (MediaOptions(), MediaOptions("visual")) if suffix in ("mp4", "mkv") else (MediaOptions(),):
        try:
            decoded = decode_clip(clip, media_options, RATE, max_seconds)
        except (AudioError, VideoError, OSError) as error:
            assert str(error) and "\n" not in str(error)
        else:
            assert decoded.content == compute_content(path)
            assert decoded.samples is None or np.isfinite(decoded.samples).all()
            assert decoded.seconds >= 0


def test_a_failed_clip_has_its_content_known_where_its_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_text("not audio")
    os.mkfifo(tmp_path / "pipe.wav")
    assert compute_content_if_readable(tmp_path / "clip.wav") == compute_content(tmp_path / "clip.wav")
    for sources in ((tmp_path / "nowhere.wav",), (tmp_path / "clip.wav", tmp_path / "pipe.wav"), ([[1], [1, 2]],)):
        assert compute_content_if_readable(*sources) == UNKNOWN


def test_a_decoded_clip_has_the_digest_of_its_sources(tmp_path: Path) -> None:
    video_path = write_video(tmp_path / "clip.mkv", numbered_frames(8), 4, noise(1.0, 0, RATE))
    soundfile.write(tmp_path / "clip.wav", noise(1.0, 1, RATE), RATE)
    both = decode_clip(Clip(tmp_path / "clip.wav", "clip", video=video_path), BOTH, RATE)
    assert both.content == compute_content(tmp_path / "clip.wav", video_path)
    assert both.samples is not None and both.frames is not None
    decoded, video = (
        read_waveform(tmp_path / "clip.wav", RATE),
        read_frames(video_path, BOTH.frame_rate, BOTH.frame_pixels),
    )
    assert decoded.frames is None and video.samples is None and np.isnan(video.peak)
    assert (both.peak, both.seconds) == (decoded.peak, video.seconds)
