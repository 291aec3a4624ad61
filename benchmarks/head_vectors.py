"""Make head vectors of many kinds, so that methods are not tuned to one kind.

    python benchmarks/head_vectors.py ../shared/esc10 kinds/

The data are ESC-10, synthesized sounds, and the digits of scikit-learn. The script writes one ``.npz`` file per kind,
with ``X`` (clips, heads, dim), ``y`` and ``groups``:

- ``esc10``, ``esc10-3s``, ``esc10-asked``: ESC-10 through ``tiny`` with random weights. ``esc10-3s`` has other random
  weights and a window of 3 s. ``esc10-asked`` has a third set of weights, of half the standard deviation, and another
  question. Groups are the folds.
- ``synthetic-20``, ``synthetic-6``: synthesized sounds of 20 or 6 kinds; a kind is a source, an envelope and a pitch.
- ``digits``: images of digits through random two-layer networks, one per head.
- ``planted-few``, ``planted-some``: Gaussian noise with a nuisance shared by all heads. In ``planted-few``, a tenth of
  128 heads separate all classes. In ``planted-some``, three tenths of the heads separate 40 % of the classes each.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal
from sklearn.datasets import load_digits

from calm.extract import DEFAULT_QUESTION, LALM, Clip, collect_results, find_clips, head_vectors
from calm.extract.models.tiny import random_tiny

RATE = 16000
SOURCES = ("tone", "bell", "noise", "chirp", "pulse", "voice", "crackle", "rumble")
ENVELOPES = ("steady", "burst", "fade", "tremolo", "repeat")
PITCHES = {"low": 120, "middle": 500, "high": 2000}


def synthesize(
    rng: np.random.Generator, source: str, envelope: str, pitch: str, seconds: float = 2.0
) -> NDArray[np.float32]:
    """Synthesize a random sound of one kind."""
    time = np.arange(int(RATE * seconds)) / RATE
    f = PITCHES[pitch] * 2 ** rng.uniform(-0.7, 0.7)
    noise = rng.standard_normal(len(time))
    if source == "tone":
        x = np.sin(2 * np.pi * f * time) + 0.3 * np.sin(4 * np.pi * f * time)
    elif source == "bell":
        x = np.zeros(len(time)) + sum(
            np.sin(2 * np.pi * f * r * time) * np.exp(-time * rng.uniform(1, 6)) for r in (1, 2.76, 5.4)
        )
    elif source == "noise":
        x = _band(noise, 0.6 * f, 1.8 * f)
    elif source == "chirp":
        x = signal.chirp(time, f, seconds, f * (rng.uniform(1.8, 3.5) if rng.random() < 0.5 else rng.uniform(0.3, 0.6)))
    elif source == "pulse":
        x = signal.square(2 * np.pi * f * time, duty=rng.uniform(0.05, 0.5))
    elif source == "voice":
        glottis = signal.sawtooth(np.pi * f * time + 2 * np.sin(10 * np.pi * time))
        x = np.zeros(len(time)) + sum(
            _band(glottis, 0.9 * formant, 1.1 * formant) for formant in rng.uniform(300, 3000, 3)
        )
    elif source == "crackle":
        clicks = np.zeros(len(time))
        n = rng.poisson(rng.uniform(10, 40) * seconds)
        clicks[rng.integers(0, len(time), n)] = rng.standard_normal(n)
        x = _band(clicks, 0.7 * f, 2 * f)
    else:
        x = _band(noise, 20, 0.5 * f)
    shape = {
        "steady": np.ones(len(time)),
        "burst": np.exp(-(((time - rng.uniform(0.2, 0.8) * seconds) / rng.uniform(0.05, 0.2)) ** 2)),
        "fade": np.exp(-time * rng.uniform(1, 4)),
        "tremolo": 1 + np.sin(2 * np.pi * rng.uniform(3, 12) * time),
        "repeat": (time % (period := rng.uniform(0.15, 0.5))) < period * rng.uniform(0.2, 0.5),
    }[envelope]
    x = x * shape
    x = x / (np.abs(x).max() + 1e-9) * 10 ** rng.uniform(-1.2, -0.1)
    return (x + 10 ** rng.uniform(-4, -2) * rng.standard_normal(len(time))).astype(np.float32)


def _band(x: NDArray, low: float, high: float) -> NDArray:
    top = 0.98 * RATE / 2
    b, a = signal.butter(1, [min(low, 0.8 * top) / (RATE / 2), min(high, top) / (RATE / 2)], "band")
    return signal.lfilter(b, a, x)


def synthetic_clips(kinds: int, each: int, seed: int) -> tuple[list[Clip], list[str], list[int]]:
    rng = np.random.default_rng(seed)
    all_kinds = [(s, e, p) for s in SOURCES for e in ENVELOPES for p in PITCHES]
    chosen = [all_kinds[i] for i in rng.choice(len(all_kinds), kinds, replace=False)]
    waves = [synthesize(rng, *kind) for kind in chosen for _ in range(each)]
    labels = [" ".join(kind) for kind in chosen for _ in range(each)]
    return find_clips(waves, sampling_rate=RATE), labels, [i % 8 for _ in chosen for i in range(each)]


def through_tiny(
    clips: Sequence[Clip], *, seed: int = 0, seconds: int = 5, size: float = 0.1, question: str = DEFAULT_QUESTION
) -> NDArray[np.float32]:
    """Return the head vectors (clips, heads, dim) of clips through ``tiny`` with random weights."""
    lalm = LALM(f"tiny-random {seed}", *random_tiny(seed, std=size, window_seconds=seconds))
    vectors = collect_results(head_vectors(lalm, clips, [question] * len(clips))).values
    assert vectors is not None
    return vectors.reshape(len(vectors), -1, vectors.shape[-1])


def make_digits() -> tuple[NDArray, NDArray, NDArray]:
    rng, data = np.random.default_rng(0), load_digits()
    chosen = rng.permutation(len(data.data))[:900]
    hidden = np.tanh(data.data[chosen] / 16 @ rng.normal(size=(64, 256)) / 4)
    heads = [
        np.maximum(hidden @ rng.normal(size=(256, 32)) / 8 + rng.normal(size=32) / 2, -0.1) for _ in range(48)
    ]  # fmt: skip
    return np.stack(heads, axis=1), data.target[chosen], np.arange(900) % 9


def make_planted(seed: int, head_share: float, class_share: float) -> tuple[NDArray, NDArray, NDArray]:
    rng, classes, each, dim = np.random.default_rng(seed), 12, 60, 32
    y = np.repeat(np.arange(classes), each)
    nuisance = rng.normal(size=(len(y), 24))
    heads = []
    for _ in range(128):
        scale = np.exp(0.8 * rng.normal(size=dim))
        x = rng.normal(size=(len(y), dim)) * scale + nuisance @ rng.normal(size=(24, dim)) * 0.5 * scale
        if rng.random() < head_share:
            means = rng.normal(size=(classes, dim)) * scale * rng.uniform(1.2, 4) / np.sqrt(dim)
            means[rng.random(classes) > class_share] = 0
            x += means[y]
        heads.append((x + 5 * rng.normal(size=dim) * scale) * np.exp(rng.normal()))
    return np.stack(heads, axis=1), y, np.arange(len(y)) % 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esc10", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)

    def write(name: str, X: NDArray, y: Any, groups: Any) -> None:
        np.savez(args.out / f"{name}.npz", X=X.astype(np.float32), y=np.asarray(y), groups=np.asarray(groups))
        print(f"{name}: {X.shape[0]} clips, {len(set(np.asarray(y).tolist()))} classes, {X.shape[1]} × {X.shape[2]}")

    clips = find_clips(args.esc10)
    esc10 = [clip.label for clip in clips], [clip.group for clip in clips]
    write("esc10", through_tiny(clips), *esc10)
    write("esc10-3s", through_tiny(clips, seed=1, seconds=3), *esc10)
    write("esc10-asked", through_tiny(clips, seed=2, size=0.05, question="Which of these do you hear?"), *esc10)
    for kinds, each, seed in ((20, 40, 7), (6, 80, 8)):
        sounds, labels, groups = synthetic_clips(kinds, each, seed)
        write(f"synthetic-{kinds}", through_tiny(sounds, seed=kinds, seconds=2), labels, groups)
    write("digits", *make_digits())
    write("planted-few", *make_planted(1, 0.1, 1.0))
    write("planted-some", *make_planted(2, 0.3, 0.4))


if __name__ == "__main__":
    main()
