"""Videos: frames at a fixed rate, and the soundtrack."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from calm.extract import (
    LALM,
    AudioError,
    Clip,
    Columns,
    HeadCache,
    MediaOptions,
    Request,
    VideoError,
    decode_clip,
    extract_to_cache,
    find_clips,
    read_frames,
    read_waveform,
)
from calm.extract.forward import batch_loader
from calm.extract.forward.batch_size import BatchSize
from calm.extract.media.audio import audio_duration
from tests.conftest import noise
from tests.extract.media.decoded_clips import frames_of, samples_of
from tests.extract.media.videos import RATE, numbered_frames, numbers_of, write_video

EVERYTHING = 10**7


@pytest.mark.parametrize(
    ("name", "codec", "sound_codec"),
    [
        ("clip.mkv", "ffv1", "pcm_s16le"),
        ("clip.mp4", "libx264", "aac"),
        ("clip.webm", "libvpx-vp9", "libopus"),
        ("clip.mov", "libx264", "pcm_s16le"),
    ],
)
def test_frames_are_those_shown_at_each_moment(name: str, codec: str, sound_codec: str, tmp_path: Path) -> None:
    path = write_video(
        tmp_path / name, numbered_frames(20), 10, noise(2.0, 0, RATE), codec=codec, sound_codec=sound_codec
    )
    assert numbers_of(frames_of(read_frames(path, 2.0, EVERYTHING))) == [0, 5, 10, 15]
    assert numbers_of(frames_of(read_frames(path, 20.0, EVERYTHING, max_seconds=0.3))) == [0, 0, 1, 1, 2, 2]
    assert read_frames(path, 2.0, EVERYTHING, max_seconds=0.3).seconds == pytest.approx(2.0, abs=0.05)
    assert audio_duration(path, RATE) == pytest.approx(2.0, abs=0.05)


@given(n=st.integers(1, 30), rate=st.floats(0.5, 60), fps=st.floats(0.1, 60), limit=st.floats(0.05, 5) | st.none())
def test_as_many_frames_as_the_length_holds(n: int, rate: float, fps: float, limit: float | None) -> None:
    frames = numbered_frames(n, 4, 4)
    found = numbers_of(frames_of(read_frames((frames, rate), fps, EVERYTHING, limit)))
    seconds = n / rate if limit is None else min(n / rate, limit)
    expected = [k / fps for k in range(len(found) + 1)]
    assert expected[len(found) - 1] < seconds and expected[len(found)] >= seconds - 1e-5
    for number, time in zip(found, expected, strict=False):
        assert number == min(int(time * rate + 1e-9), n - 1) or abs(time * rate - round(time * rate)) < 1e-4


@pytest.mark.parametrize(("height", "width"), [(48, 64), (640, 16), (33, 47)])
def test_frames_are_made_smaller_and_never_larger(height: int, width: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", numbered_frames(4, height, width), 4)
    assert frames_of(read_frames(path, 1.0, EVERYTHING)).shape == (1, height, width, 3)
    _, h, w, _ = frames_of(read_frames(path, 1.0, height * width // 4)).shape
    assert h * w <= height * width // 4
    assert abs(h - height / 2) < 1 and abs(w - width / 2) < 1


def test_sound_comes_with_its_own_beginning(tmp_path: Path) -> None:
    wave = noise(1.0, 0, RATE)
    path = write_video(tmp_path / "clip.mkv", numbered_frames(20), 10, wave, sound_begins=0.5)
    sound = samples_of(read_waveform(path, RATE))
    np.testing.assert_array_equal(sound[: RATE // 2], 0)
    np.testing.assert_allclose(sound[RATE // 2 : RATE // 2 + RATE], wave, atol=1e-4)


def test_channels_are_mixed_and_long_sound_is_cut(tmp_path: Path) -> None:
    left, right = noise(2.0, 0, RATE), noise(2.0, 1, RATE)
    path = write_video(tmp_path / "clip.mkv", None, wave=np.stack([left, right], axis=1))
    sound = read_waveform(path, RATE, max_seconds=0.5)
    assert (len(samples_of(sound)), sound.seconds) == (RATE // 2, pytest.approx(2.0, abs=0.01))
    np.testing.assert_allclose(samples_of(sound), ((left + right) / 2)[: RATE // 2], atol=1e-4)


def test_what_cannot_be_used_says_why(tmp_path: Path) -> None:
    silent = write_video(tmp_path / "silent.mkv", numbered_frames(4), 4)
    blind = write_video(tmp_path / "blind.mka", None, wave=noise(0.5, 0, RATE))
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(AudioError, match="it has no audio stream"):
        read_waveform(silent, RATE)
    with pytest.raises(VideoError, match="it has no video stream"):
        read_frames(blind, 2.0, EVERYTHING)
    for name in ("text.mp4", "empty.mp4"):
        with pytest.raises(VideoError, match="not readable: Invalid data"):
            read_frames(tmp_path / name, 2.0, EVERYTHING)
        with pytest.raises(AudioError, match="not readable: Invalid data"):
            read_waveform(tmp_path / name, RATE)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*missing\.mp4"):
        read_frames(tmp_path / "missing.mp4", 2.0, EVERYTHING)
    with pytest.raises(VideoError, match="expected"):
        read_frames((np.zeros((4, 8, 8), dtype=np.uint8), 2.0), 2.0, EVERYTHING)
    with pytest.raises(VideoError, match="only an array of samples"):
        decode_clip(Clip(noise(0.5, 0, RATE), "noise"), MediaOptions("visual"), RATE)


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "clip.m4a", None, wave=noise(0.5, 0, RATE), sound_codec="aac")
    assert len(samples_of(read_waveform(path, RATE))) >= RATE // 2
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"pip install 'calm-audio\[video\]'"):
        read_waveform(path, RATE)
    with pytest.raises(ImportError, match=r"pip install 'calm-audio\[video\]'"):
        read_frames(path, 2.0, EVERYTHING)
    assert audio_duration(path, RATE) == 0
    with pytest.raises(ImportError, match=r"pip install 'calm-audio\[video\]'"):
        extract_to_cache(find_clips([path]), tmp_path / "h.h5", Request("no/model", modality="visual"))


@pytest.mark.parametrize(
    ("media_options", "reason"),
    [
        ({"modality": "smell"}, "modality must be audio, visual or audio-visual, got 'smell'"),
        ({"modality": "visual", "fps": 0.0}, "fps must be above 0"),
        ({"modality": "visual", "max_pixels": 100}, "max_pixels must be at least 784"),
        ({"fps": 2.0}, "apply to video only: use modality visual or audio-visual"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(media_options: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Request("tiny", **media_options)


def test_the_soundtrack_of_a_video_decodes_like_an_audio_file(tiny: LALM, tmp_path: Path) -> None:
    for label, seed in (("a", 0), ("b", 1)):
        wave = noise(1.0, seed, RATE)
        (tmp_path / "sounds" / label).mkdir(parents=True)
        (tmp_path / "videos" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "sounds" / label / "clip.wav", np.round(wave * 32767) / 32767, RATE, "PCM_16")
        write_video(tmp_path / "videos" / label / "clip.mkv", numbered_frames(4), 4, wave)
    vectors = []
    for kind in ("sounds", "videos"):
        report = extract_to_cache(find_clips(tmp_path / kind), tmp_path / f"{kind}.h5", Request("tiny"), lalm=tiny)
        assert report.failures == {}
        with HeadCache(report.path) as cache:
            assert cache.labels.tolist() == ["a", "b"]
            vectors.append(cache.read(np.arange(2)))
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-2, rtol=1e-2)


def test_video_is_refused_for_a_model_without_video_input(tiny: LALM, tmp_path: Path) -> None:
    clips = find_clips([write_video(tmp_path / "clip.mkv", numbered_frames(4), 4, noise(1.0, 0, RATE))])
    with pytest.raises(ValueError, match=r"video is not supported for model 'tiny': use qwen2\.5-omni or qwen3-omni"):
        extract_to_cache(clips, tmp_path / "h.h5", Request("tiny", modality="visual"), lalm=tiny)
    assert not (tmp_path / "h.h5").exists()


def test_a_sound_and_a_video_of_one_name_are_one_clip(tmp_path: Path) -> None:
    for name in ("dog/1.wav", "dog/1.mp4", "dog/2.mp4", "cat/1.flac", "cat/1.wav", "cat/1.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = {clip.name: clip.video for clip in find_clips(tmp_path)}
    assert found == {
        "cat/1.flac": None,
        "cat/1.mp4": None,
        "cat/1.wav": None,
        "dog/1.wav": tmp_path / "dog/1.mp4",
        "dog/2.mp4": None,
    }


def test_a_manifest_may_have_a_column_of_videos(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "both.csv").write_text("file_name,video,label\na.wav,a.mp4,dog\n")
    (tmp_path / "video_only.csv").write_text("video_path,label\na.mp4,dog\n")
    (tmp_path / "named.csv").write_text("path,film,label\na.wav,a.mp4,dog\n")
    both, video_only = find_clips(tmp_path / "both.csv")[0], find_clips(tmp_path / "video_only.csv")[0]
    assert (both.audio, both.video) == (tmp_path / "a.wav", tmp_path / "a.mp4")
    assert (video_only.audio, video_only.video) == (tmp_path / "a.mp4", tmp_path / "a.mp4")
    named = find_clips(tmp_path / "named.csv", columns=Columns(video="film"))[0]
    assert (named.audio, named.video) == (tmp_path / "a.wav", tmp_path / "a.mp4")


def test_a_cache_from_before_videos_is_one_of_sound(tiny: LALM, tmp_path: Path) -> None:
    clips = find_clips([noise(1.0, seed, RATE) for seed in range(2)])
    extract_to_cache(clips[:1], tmp_path / "h.h5", Request("tiny"), lalm=tiny)
    with h5py.File(tmp_path / "h.h5", "r+") as file:
        later = {"modality", "fps", "max_pixels"}
        for name in later:
            del file.attrs[name]
        known = json.loads(file.attrs["request"])
        file.attrs["request"] = json.dumps({name: value for name, value in known.items() if name not in later})
    assert extract_to_cache(clips, tmp_path / "h.h5", Request("tiny"), lalm=tiny).new == 1
    with HeadCache(tmp_path / "h.h5") as cache:
        assert (cache.fingerprint.modality, cache.request.media_options.modality) == ("audio", "audio")


def odd_files(folder: Path) -> dict[str, Path]:
    """Make files that can be decoded only in part, or not at all, for different reasons."""
    folder.mkdir()
    wave = noise(0.5, 0, RATE)
    tagged = write_video(folder / "tagged.mkv", numbered_frames(4), 4, wave, title="Zürich café")
    tagged.write_bytes(tagged.read_bytes().replace("Zürich café".encode(), "Zürich café--".encode("latin-1")))
    unknown = write_video(folder / "unknown.mkv", numbered_frames(4), 4, wave)
    unknown.write_bytes(unknown.read_bytes().replace(b"A_PCM/INT/LIT", b"A_PCM/INT/XYZ"))
    mono, stereo = (
        write_video(folder / f"{n}.aac", None, wave=np.stack([wave] * n, axis=1), sound_codec="aac") for n in (1, 2)
    )
    (folder / "changing.aac").write_bytes(mono.read_bytes() + stereo.read_bytes())
    small, large = (
        write_video(folder / f"{n}.ts", numbered_frames(8, 48 * n, 64 * n), 25, codec="mpeg2video") for n in (1, 2)
    )
    (folder / "growing.ts").write_bytes(small.read_bytes() + large.read_bytes())
    return {"tagged": tagged, "unknown": unknown, "changing": folder / "changing.aac", "growing": folder / "growing.ts"}


def test_no_odd_file_stops_an_extraction(tiny: LALM, tmp_path: Path) -> None:
    odd = odd_files(tmp_path / "odd")
    clips = find_clips([odd["tagged"], odd["unknown"], odd["changing"], noise(0.5, 0, RATE)])
    report = extract_to_cache(clips, tmp_path / "h.h5", Request("tiny"), lalm=tiny)
    assert list(report.failures.values()) == ["no decoder for its audio stream"] and report.done == 3
    assert samples_of(read_waveform(odd["changing"], RATE)).size > 0.9 * RATE
    assert frames_of(read_frames(odd["growing"], 25.0, EVERYTHING)).shape[1:] == (48, 64, 3)


def test_frames_that_no_encoder_accepts_are_refused() -> None:
    with pytest.raises(VideoError, match="frames of 3000 × 2 pixels: the aspect ratio is above 200"):
        read_frames((np.zeros((2, 2, 3000, 3), dtype=np.uint8), 2.0), 2.0, EVERYTHING)
    with pytest.raises(VideoError, match="invalid frame rate 0"):
        read_frames((np.zeros((2, 8, 8, 3), dtype=np.uint8), 0), 2.0, EVERYTHING)


def test_a_row_without_sound_has_that_of_its_video(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "m.csv").write_text("file_name,video,label\na.wav,a.mp4,dog\n,b.mp4,cat\n")
    assert [clip.name for clip in find_clips(tmp_path / "m.csv")] == ["a.wav", "b.mp4"]


@pytest.mark.parametrize(
    ("media_options", "most"), [(MediaOptions("audio"), 6), (MediaOptions("visual"), 2)], ids=["audio", "visual"]
)
def test_batches_of_frames_fit_into_memory(
    tiny: LALM, monkeypatch: pytest.MonkeyPatch, media_options: MediaOptions, most: int
) -> None:
    """Limit the memory to two clips of 10 s: 20 frames each, three float32 colours per pixel."""
    monkeypatch.setattr(batch_loader, "_MAX_BATCH_FRAME_BYTES", 2 * 20 * 448 * 448 * 3 * 4)
    clips = find_clips([noise(10.0, seed, RATE) for seed in range(6)])
    reader, read = (
        batch_loader.BatchLoader(tiny.builder, clips, ["What is it?"] * 6, tiny.device, max_seconds=10.0),
        list[int](),
    )
    reader.media_options, reader.limit = media_options, 10.0

    def note(rows: list[int]) -> list[batch_loader.LoadedBatch]:
        read.append(len(rows))
        return []

    monkeypatch.setattr(reader, "read", note)
    assert list(reader.batches(BatchSize(6))) == []
    assert read == [most] * (6 // most)


def test_video_clips_are_limited_to_the_maximum_number_of_frames(tiny: LALM) -> None:
    assert tiny.builder.limit_seconds(None, MediaOptions("visual", fps=1000.0)) == 0.768
    assert tiny.builder.limit_seconds(3.0, MediaOptions("visual")) == 3.0
