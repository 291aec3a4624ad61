"""Audio of any format, sampling rate and number of channels gives one mono waveform or a clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm.extract import AudioError, read_waveform
from tests.conftest import noise, tone
from tests.extract.media.decoded_clips import samples_of


def strongest_pitch(samples: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_format_and_rate_is_brought_to_the_models_rate(tmp_path: Path, suffix: str, rate: int) -> None:
    file = tmp_path / f"clip.{suffix}"
    soundfile.write(file, tone(440, seconds=1.0, rate=rate), rate)
    clip = read_waveform(file, 16000)
    assert samples_of(clip).dtype == np.float32
    assert abs(len(samples_of(clip)) - 16000) < 1000  # some codecs add a frame of padding
    assert strongest_pitch(samples_of(clip), 16000) == pytest.approx(440, abs=5)


def test_channels_are_averaged() -> None:
    left, right = tone(300), tone(900)
    clip = read_waveform(np.stack([left, right], axis=1), 16000)
    np.testing.assert_allclose(samples_of(clip), (left + right) / 2, atol=1e-6)


def test_a_ten_minute_file_is_cut_without_being_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "long.wav"
    soundfile.write(file, np.tile(noise(60.0, rate=8000), 10), 8000)
    sizes_read = []
    original = soundfile.SoundFile.read

    def read(self: soundfile.SoundFile, frames: int, **options: object) -> np.ndarray:
        sizes_read.append(frames)
        return original(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    clip = read_waveform(file, 16000, max_seconds=5.0)
    assert len(samples_of(clip)) == 80000
    assert clip.seconds == 600.0
    assert 5.1 * 8000 <= sum(sizes_read) < 10 * 8000


def test_cutting_a_file_equals_cutting_it_after_resampling(tmp_path: Path) -> None:
    file = tmp_path / "clip.wav"
    soundfile.write(file, tone(440, seconds=3.0, rate=44100), 44100)
    whole, cut = read_waveform(file, 16000), read_waveform(file, 16000, max_seconds=2.0)
    np.testing.assert_allclose(samples_of(cut), samples_of(whole)[:32000], atol=1e-4)


def test_a_click_of_a_few_milliseconds_is_followed_by_silence() -> None:
    clip = read_waveform(np.ones(50, dtype=np.float32), 16000)
    assert len(samples_of(clip)) == 1600
    assert samples_of(clip)[:50].all() and not samples_of(clip)[50:].any()
    assert clip.seconds == 50 / 16000


def test_silence_is_a_clip_and_shows_in_its_peak() -> None:
    assert read_waveform(np.zeros(16000), 16000).peak == 0


def test_integers_are_scaled_to_one() -> None:
    clip = read_waveform(np.full(16000, -(2**15), dtype=np.int16), 16000)
    np.testing.assert_array_equal(samples_of(clip), -1)


def test_an_array_may_come_with_its_own_rate() -> None:
    clip = read_waveform((tone(440, seconds=1.0, rate=8000), 8000), 16000)
    assert strongest_pitch(samples_of(clip), 16000) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "no samples in it"),
        (np.array([0.1, np.nan] * 1000), "it contains NaN or infinite samples"),
        (np.array([0.1, np.inf] * 1000), "it contains NaN or infinite samples"),
        (np.zeros((2, 16000)), r"shape \(2, 16000\): expected \(samples,\) or \(samples, channels\)"),
        (np.zeros(100, dtype=complex), "samples of dtype complex128"),
    ],
)
def test_bad_arrays_say_what_is_wrong(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        read_waveform(samples, 16000)


def test_a_file_that_is_not_audio_says_so(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_text("This is not audio")
    with pytest.raises(AudioError, match="not readable as audio: Format not recognised"):
        read_waveform(tmp_path / "clip.wav", 16000)


def test_a_format_without_a_header_says_so(tmp_path: Path) -> None:
    (tmp_path / "clip.raw").write_bytes(b"12345678")
    with pytest.raises(AudioError, match="not readable as audio: Format not recognised"):
        read_waveform(tmp_path / "clip.raw", 16000)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").touch()
    with pytest.raises(AudioError, match="not readable as audio"):
        read_waveform(tmp_path / "clip.wav", 16000)


def test_a_wav_without_samples_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match="no samples in it"):
        read_waveform(tmp_path / "clip.wav", 16000)


def test_a_nan_in_a_file_says_so(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.array([0.0, np.nan] * 100), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        read_waveform(tmp_path / "clip.wav", 16000)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere\.wav"):
        read_waveform(tmp_path / "nowhere.wav", 16000)


def test_a_file_cut_off_in_the_middle_is_read_up_to_there_or_refused(tmp_path: Path) -> None:
    for suffix in ("wav", "flac", "ogg"):
        whole, part = tmp_path / f"whole.{suffix}", tmp_path / f"part.{suffix}"
        soundfile.write(whole, noise(2.0), 16000)
        part.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        try:
            clip = read_waveform(part, 16000)
        except AudioError:
            continue
        assert 0 < len(samples_of(clip)) <= 32000
