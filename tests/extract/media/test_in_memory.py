"""Sequences of clips may mix paths, arrays, tensors, pairs and Clip objects; rates and scales are checked."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calm import find_clips
from calm.extract import (
    LALM,
    AudioError,
    Clip,
    Columns,
    MediaOptions,
    collect_results,
    decode_clip,
    head_vectors,
    read_waveform,
)
from calm.sounds import make_sounds
from tests.conftest import noise, tone
from tests.extract.media.decoded_clips import samples_of

RATE = 16000


def decoded(clip: Clip) -> np.ndarray:
    return samples_of(decode_clip(clip, MediaOptions(), RATE))


def test_entries_of_different_kinds_may_be_mixed(tmp_path: Path) -> None:
    wave = tone(440)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    own = Clip(wave, "mine", label="dog", question="Which?")
    entries: list[Any] = [
        tmp_path / "a.wav",
        str(tmp_path / "a.wav"),
        wave,
        torch.from_numpy(wave),
        torch.from_numpy(wave).requires_grad_(),
        (wave, RATE),
        [wave, RATE],
        (torch.from_numpy(wave), RATE),
        {"array": wave, "sampling_rate": RATE, "path": None},
        {"array": wave.tolist(), "sampling_rate": RATE},
        {"array": torch.from_numpy(wave), "sampling_rate": torch.tensor(RATE)},
        {"array": wave, "sampling_rate": np.array(RATE)},
        {"array": None, "sampling_rate": None, "path": str(tmp_path / "a.wav")},
        {"bytes": None, "path": str(tmp_path / "a.wav")},
        wave.tolist(),
        own,
    ]
    clips = find_clips(entries)
    assert len(clips) == len(entries) and clips[-1] is own
    for clip in clips:
        np.testing.assert_allclose(decoded(clip), wave, atol=1e-6)
    assert np.abs(decoded(find_clips([torch.from_numpy(wave).bfloat16()])[0]) - wave).max() < 0.01


def test_labels_are_added_to_clips_and_none_keeps_the_own_label() -> None:
    clips = [Clip("a.wav", "a", label="dog"), Clip("b.wav", "b", label="cat")]
    assert [clip.label for clip in find_clips(clips, ["rain", None])] == ["rain", "cat"]
    assert find_clips(clips) == clips


@pytest.mark.parametrize(
    "source",
    [
        np.zeros(RATE),
        np.float32(0.5),
        np.zeros((RATE, 2)),
        torch.zeros(RATE),
        [0.0, 0.1, 0.2],
        [0.0, 0.1],
        (np.zeros(RATE), RATE),
        [np.zeros(RATE), RATE],
        (torch.zeros(1, RATE), RATE),
        ([0.0, 0.1], 8000),
        Clip("a.wav", "a"),
        {"array": np.zeros(RATE), "sampling_rate": RATE},
        b"a.wav",
    ],
    ids=lambda source: type(source).__name__,
)
def test_a_single_clip_is_no_sequence(source: Any) -> None:
    with pytest.raises(ValueError, match=r"got one clip: for a single clip, pass \[clip\]"):
        find_clips(source)


def test_what_is_neither_a_path_nor_a_sequence_is_refused() -> None:
    for source in (None, 7.5, object()):
        with pytest.raises(ValueError, match="expected a sequence of clips, got"):
            find_clips(source)  # type: ignore[arg-type]


def test_rows_of_an_array_are_clips(tiny: LALM) -> None:
    waves, labels = make_sounds(n_classes=2, n_per_class=2, seconds=0.25)
    clips = find_clips(waves, labels)
    assert [clip.label for clip in clips] == labels.tolist()
    assert [len(clip.audio) for clip in clips] == [4000] * 4  # type: ignore[arg-type]
    assert [clip.name for clip in find_clips(torch.from_numpy(waves))] == [clip.name for clip in clips]
    assert len(find_clips(np.zeros((3, RATE, 2)))) == 3
    assert [clip.name for clip in find_clips(np.array(["a.wav", "b.wav"]))] == ["a.wav", "b.wav"]
    assert find_clips(np.zeros((0, 5))) == find_clips([]) == []


def test_a_folder_or_a_manifest_in_a_sequence_stands_for_its_clips(class_folder: Callable[..., Path]) -> None:
    folder, other = class_folder(2), class_folder(1, name="other")
    (folder.parent / "list.csv").write_text("path,label\nother/low/0.wav,bass\n")
    single = folder / "low/0.wav"
    clips = find_clips([folder, other, folder.parent / "list.csv", single, noise(0.5)])
    assert [clip.label for clip in clips] == ["high", "high", "low", "low", "high", "low", "bass", None, None]
    assert clips[0].name == f"{folder}/high/0.wav" and clips[6].name == f"{other}/low/0.wav"
    assert len({clip.name for clip in clips[:6]}) == 6
    named = find_clips([folder.parent / "list.csv"], columns=Columns(label="path"))
    assert named[0].label == "other/low/0.wav"
    with pytest.raises(ValueError, match="column names are given, but there is no manifest"):
        find_clips([single], columns=Columns(label="path"))
    with pytest.raises(ValueError, match="4 clips, but 1 labels"):
        find_clips([folder], ["dog"])


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data/dog").mkdir(parents=True)
    soundfile.write(tmp_path / "data/dog/1.wav", tone(440), RATE)
    (tmp_path / "list.csv").write_text("path,label\n~/data/dog/1.wav,dog\n")
    (tmp_path / "elsewhere.csv").write_text("path,label\ndog/1.wav,dog\n")
    for source in ("~/data", Path("~/data"), "~/data/dog/1.wav", ["~/data/dog/1.wav"], ["~/data"], "~/list.csv"):
        (clip,) = find_clips(source)
        assert clip.audio == tmp_path / "data/dog/1.wav"
    (clip,) = find_clips("~/elsewhere.csv", root="~/data")
    assert (clip.audio, clip.name) == (tmp_path / "data/dog/1.wav", "dog/1.wav")
    assert str(find_clips(["~nobody-of-this-name/1.wav"])[0].audio) == "~nobody-of-this-name/1.wav"


@pytest.mark.parametrize("url", ["https://example.org/a/b.wav", "s3://bucket/b.wav", "hf://datasets/a/b.wav"])
def test_a_url_is_not_read_and_keeps_its_slashes(tmp_path: Path, url: str) -> None:
    reason = f"URLs are not read: download {url} first"
    for source in (url, Path(url)):
        with pytest.raises(FileNotFoundError, match=reason):
            find_clips(source)
        with pytest.raises(FileNotFoundError, match=reason):
            read_waveform(source, RATE)
    (clip,) = find_clips([url])
    assert clip.name == url
    with pytest.raises(FileNotFoundError, match=reason):
        decode_clip(clip, MediaOptions(), RATE)
    (tmp_path / "list.csv").write_text(f"path,label\n{url},dog\n")
    with pytest.raises(FileNotFoundError, match=f"none of the 1 files listed in .*: {reason}"):
        find_clips(tmp_path / "list.csv")
    soundfile.write(tmp_path / "a.wav", tone(440), RATE)
    (tmp_path / "list.csv").write_text(f"path,label\n{url},dog\na.wav,cat\n")
    clips = find_clips(tmp_path / "list.csv")
    assert [clip.name for clip in clips] == [url, "a.wav"]
    with pytest.raises(FileNotFoundError, match=reason):
        decode_clip(clips[0], MediaOptions(), RATE)


def test_an_empty_path_is_not_the_current_folder() -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder: ''"):
        find_clips("")
    assert len(find_clips(["", "a.wav"])) == 2


# --- sampling rate and scale ---


def test_a_sampling_rate_applies_to_what_has_none() -> None:
    low = tone(440, 1.0, rate=44100)
    entries = [low, torch.from_numpy(low), Clip(low, "low"), (tone(440, 1.0, rate=8000), 8000)]
    for clip in find_clips(entries, sampling_rate=44100):
        samples = decoded(clip)
        assert len(samples) == pytest.approx(RATE, abs=2)
        assert np.abs(np.fft.rfft(samples)).argmax() == pytest.approx(440, abs=2)


@settings(deadline=None)
@given(rate=st.sampled_from([0, -1, 0.5, float("nan"), float("inf"), "16000", True, 2j, 10**400, [8000]]))
def test_an_invalid_sampling_rate_is_refused_at_once(rate: Any) -> None:
    with pytest.raises(ValueError, match="invalid sampling rate"):
        find_clips([np.zeros(RATE)], sampling_rate=rate)


def extract(tiny: LALM, clips: list[Clip]) -> list[str]:
    """Extract head vectors; return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = collect_results(head_vectors(tiny, clips, ["What is it?"] * len(clips)))
    assert len(results.rows) == len(clips)
    return [str(warning.message) for warning in caught]


def test_arrays_without_a_rate_are_warned_of_with_the_rate_of_the_model(tiny: LALM, tmp_path: Path) -> None:
    (message,) = extract(tiny, find_clips([tone(440), tone(550)]))
    assert "without a sampling rate are taken to be at the model's rate of 16000 Hz" in message
    assert "pass sampling_rate in Hz" in message
    assert len(extract(tiny, [Clip(tone(440), "made by hand")])) == 1
    soundfile.write(tmp_path / "a.wav", tone(440), RATE)
    assert extract(tiny, find_clips([tmp_path / "a.wav", (tone(440), RATE)])) == []
    assert extract(tiny, find_clips([tone(440)], sampling_rate=RATE)) == []


def test_the_warning_of_arrays_without_a_rate_is_shown_once_per_process() -> None:
    code = """if True:
        import numpy as np
        from calm import HeadExtractor, zero_shot
        for scale in (0.1, 0.2, 0.3):
            HeadExtractor("tiny", device="cpu").transform([np.full(8000, scale)])
        HeadExtractor("tiny", device="cpu", sampling_rate=16000).transform([np.full(8000, 0.1)])
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stderr.count("without a sampling rate") == 1


def test_floats_in_the_range_of_integers_are_warned_of_by_name(tiny: LALM) -> None:
    integers = np.round(tone(440) * 32767).astype(np.int16)
    clips = find_clips(
        [tone(440), integers, integers.astype(np.float32), integers.astype(np.float64)], sampling_rate=RATE
    )
    (message,) = extract(tiny, clips)
    assert message.startswith(f"{clips[2].name} has a peak of ") and "(and 1 more)" in message
    assert "divide samples of 16-bit audio by 32768" in message
    overshooting = 2.5 * tone(440) / np.abs(tone(440)).max()
    assert extract(tiny, find_clips([overshooting], sampling_rate=RATE)) == []


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
def test_a_missing_label_is_no_class(missing: object) -> None:
    labels = pd.Series(["dog", missing], dtype=object)
    assert [clip.label for clip in find_clips(["a.wav", "b.wav"], labels)] == ["dog", None]


@pytest.mark.parametrize("shape", [(1, RATE), (2, RATE)])
def test_channels_first_are_to_be_transposed(shape: tuple[int, int]) -> None:
    (clip,) = find_clips([torch.zeros(shape)])
    with pytest.raises(AudioError, match=r"expected \(samples,\) or \(samples, channels\); transpose it"):
        decode_clip(clip, MediaOptions(), RATE)
