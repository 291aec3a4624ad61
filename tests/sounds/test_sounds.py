"""Synthesized sounds are audible, match their description, and differ between kinds."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal

from calm import NearestMeanClassifier
from calm.fit import draw_support
from calm.sounds import (
    HELD_OUT_SOURCES,
    PATTERNS,
    PERCUSSIVE_SOURCES,
    RATE,
    REGISTERS,
    SOURCES,
    SPEEDS,
    TIMBRES,
    TRAINING_SOURCES,
    Kind,
    Scene,
    draw_kind,
    make_sounds,
    synthesize,
    synthesize_dry,
)


def spectrum(wave: NDArray) -> NDArray[np.float64]:
    """Return the mean log power in bands of about a sixth of an octave."""
    frequency, power = signal.welch(wave, RATE, nperseg=2048)
    edges = np.geomspace(60, 7800, 40)
    return np.log([power[(frequency >= a) & (frequency <= b)].mean() for a, b in pairwise(edges)])


def loudness(wave: NDArray) -> NDArray[np.float64]:
    """Return the RMS level of frames of 10 ms."""
    return np.sqrt(np.square(wave[: len(wave) // 160 * 160]).reshape(-1, 160).mean(axis=1))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.builds(
        Kind,
        st.sampled_from(sorted(SOURCES)),
        st.sampled_from(sorted(REGISTERS)),
        st.sampled_from(PATTERNS),
        st.sampled_from(sorted(SPEEDS)),
        st.sampled_from(TIMBRES),
    ),
    seed=st.integers(0, 2**32 - 1),
    seconds=st.sampled_from([0.3, 1.0, 2.0]),
)
@example(Kind("bubbles", "deep", "stuttering", "brisk", "clean"), 10349, 0.3)  # once silent: bubbles fell into gaps
def test_every_kind_is_audible_whole_and_the_same_for_a_seed(kind: Kind, seed: int, seconds: float) -> None:
    wave = synthesize(np.random.default_rng(seed), kind, seconds)
    assert wave.shape == (int(RATE * seconds),) and np.isfinite(wave).all()
    assert 0.05 < np.abs(wave).max() <= 1
    np.testing.assert_array_equal(synthesize(np.random.default_rng(seed), kind, seconds), wave)
    assert not np.array_equal(synthesize(np.random.default_rng(seed + 1), kind, seconds), wave)
    bare = synthesize_dry(np.random.default_rng(seed), kind, int(RATE * seconds))
    assert np.abs(bare).max() > 1e-3  # audible before the scene is applied


#: Sources whose spectral centroid follows formants or noise more than the pitch.
_RESONANT = {"bark", "babble", "growl", "moan", "vowel", "drum", "mains", "motor", "rumble", "saw"}


@pytest.mark.parametrize("source", sorted(set(TRAINING_SOURCES) - _RESONANT))
def test_a_higher_register_lies_higher(source: str) -> None:
    def centroid(register: str) -> float:
        centroids = []
        for seed in range(6):
            kind = Kind(source, register, "steady", "brisk", "clean")
            frequency, power = signal.welch(synthesize_dry(np.random.default_rng(seed), kind, RATE), RATE, nperseg=1024)
            centroids.append((np.sqrt(power) * frequency).sum() / np.sqrt(power).sum())
        return float(np.median(centroids))

    assert centroid("low") < centroid("high")


@pytest.mark.parametrize("source", ["buzz", "hiss", "knock"])
def test_patterns_show_in_the_loudness(source: str) -> None:
    def loud(pattern: str, speed: str = "brisk") -> NDArray[np.float64]:
        kind = Kind(source, "middle", pattern, speed, "clean")
        return np.mean(
            [loudness(synthesize_dry(np.random.default_rng(seed), kind, 2 * RATE)) for seed in range(20)], axis=0
        )

    def half(pattern: str) -> float:
        level = loud(pattern)
        return float(level[100:].sum() / level[:100].sum())

    assert half("swelling") > 1.5 and half("fading") < 0.7
    kind = Kind(source, "middle", "once", "brisk", "clean")
    once = [loudness(synthesize_dry(np.random.default_rng(seed), kind, 2 * RATE)) for seed in range(10)]
    assert np.median([(level > 0.2 * level.max()).mean() for level in once]) < 0.3


def test_faster_is_faster() -> None:
    def onsets(speed: str) -> float:
        counts = []
        for seed in range(10):
            level = loudness(
                synthesize_dry(np.random.default_rng(seed), Kind("hiss", "middle", "pulsing", speed, "clean"), 2 * RATE)
            )
            on = level > 0.4 * level.max()
            counts.append((np.diff(on.astype(int)) > 0).sum())
        return float(np.mean(counts))

    assert onsets("slow") < onsets("brisk") < onsets("fast")


def test_reverberation_continues_after_the_sound() -> None:
    kind = Kind("knock", "middle", "once", "brisk", "clean")

    def tail(room: str) -> float:
        levels = [loudness(synthesize(np.random.default_rng(s), kind, 2, Scene(room, "silence"))) for s in range(8)]
        return float(np.median([(level > 0.02 * level.max()).mean() for level in levels]))

    assert tail("dry") < tail("echoing")


def test_a_data_set_has_its_classes_and_they_can_be_told_apart() -> None:
    waves, labels = make_sounds(6, 12, seconds=1.0, seed=3)
    assert waves.shape == (72, RATE) and waves.dtype == np.float32
    assert sorted(np.unique(labels, return_counts=True)[1]) == [12] * 6
    again, _ = make_sounds(6, 12, seconds=1.0, seed=3)
    np.testing.assert_array_equal(again, waves)
    X = np.array(
        [np.concatenate([spectrum(wave), np.log(np.quantile(loudness(wave), [0.1, 0.5, 0.9]))]) for wave in waves]
    )
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    support, query = draw_support(labels, 6, seed=0)
    assert NearestMeanClassifier().fit(X[support], labels[support]).score(X[query], labels[query]) > 0.5


@pytest.mark.parametrize("source", ["gong", "hiss"])
def test_kinds_of_different_names_sound_different(source: str) -> None:
    waves: dict[str, NDArray] = {}
    for pattern in PATTERNS:
        for speed in SPEEDS:
            kind = Kind(source, "low", pattern, speed, "clean")
            wave = synthesize_dry(np.random.default_rng(1), kind, RATE)
            if str(kind) in waves:  # patterns without a speed ignore it
                np.testing.assert_array_equal(wave, waves[str(kind)])
            waves[str(kind)] = wave
    assert len({wave.tobytes() for wave in waves.values()}) == len(waves)


@pytest.mark.parametrize("pattern", ["trembling", "steady", "stuttering", "pulsing"])
@pytest.mark.parametrize("source", ["knock", "hiss"])
def test_long_clips_sound_to_their_end(source: str, pattern: str) -> None:
    kind = Kind(source, "middle", pattern, "fast", "clean")
    level = loudness(synthesize_dry(np.random.default_rng(0), kind, 20 * RATE))
    assert level[-300:].max() > 0.1 * level.max()


def test_some_sources_are_kept_from_training() -> None:
    assert not set(TRAINING_SOURCES) & set(HELD_OUT_SOURCES)
    assert {*TRAINING_SOURCES, *HELD_OUT_SOURCES} == set(SOURCES) and set(SOURCES) >= PERCUSSIVE_SOURCES
    assert all(label.split()[-1] in HELD_OUT_SOURCES for label in make_sounds(5, 1, seconds=0.3)[1])
    assert str(draw_kind(np.random.default_rng(0), ("bell",))).endswith("bell")


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown sources"):
        make_sounds(2, 2, sources=["trombone"])
    with pytest.raises(ValueError, match="at least 1, got 0 and 2"):
        make_sounds(0, 2)
    with pytest.raises(ValueError, match="seconds must be at least 0.25"):
        make_sounds(2, 2, seconds=0.005)
    with pytest.raises(ValueError, match="sources is empty"):
        make_sounds(2, 2, sources=())
    with pytest.raises(ValueError, match="too few different kinds for n_classes=100000"):
        make_sounds(100000, 1, sources=["bell"])


def test_sounds_need_neither_torch_nor_transformers() -> None:
    check = "import sys, calm.sounds; assert not {'torch', 'transformers', 'sklearn'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
