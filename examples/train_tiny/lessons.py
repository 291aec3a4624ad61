"""Lessons: synthesized clips with what there is to say about them, as questions and answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from calm.sounds import (
    BACKGROUNDS,
    PATTERNS,
    RATE,
    REGISTERS,
    ROOMS,
    SPEEDS,
    TIMBRES,
    TRAINING_SOURCES,
    Wave,
    apply_scene,
    draw_kind,
    draw_scene,
    synthesize_dry,
)

WHAT = "What is the sound in this audio clip?"
PARAPHRASES = (WHAT, "What do you hear?", "Describe the sound.", "Which sound is this?")
ASKED = {
    "register": ("How high is it?", tuple(REGISTERS)),
    "pattern": ("How does it go?", PATTERNS),
    "speed": ("How fast is it?", tuple(SPEEDS)),
    "timbre": ("What is its timbre?", TIMBRES),
    "room": ("What is the room like?", ROOMS),
    "background": ("What is in the background?", BACKGROUNDS),
}
PARTS = ("names", "attributes", "levels", "questions")  #: what may be left out
LETTERS = "abcdefgh"  #: of levels, from little to much
OPTIONS = "{question} Choose from: {options}."
_UNHURRIED = ("steady", "swelling", "fading", "once")

#: What is measured on every clip, and into how many levels it is sorted.
_BANDS = {"sub": 60, "bass": 120, "tenor": 250, "mid": 500, "upper": 1000, "treble": 2000, "air": 4000, "top": 8000}
_SWINGS = {"sway": 0.5, "pulse": 2, "flutter": 6, "grain": 15}
MEASURED = {"bright": 8, "noisy": 5, "filled": 5, **dict.fromkeys(_BANDS, 5), **dict.fromkeys(_SWINGS, 4)}
#: How much each part of a description weighs in what is to be said first.
_WEIGHTS = {"source": 4.0, "register": 1.5, "pattern": 2.0, "speed": 1.5, "timbre": 1.0, "room": 0.7, "background": 0.7}
_MEASURED_WEIGHT = 0.5
_SAID = 5  #: words of a description


def measure(wave: Wave) -> NDArray[np.float64]:
    """Measure brightness, noisiness, how much of the clip is filled, band levels and swings of loudness."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 + 1e-9
    spectrum, frequency = power.mean(axis=0), np.fft.rfftfreq(512, 1 / RATE)
    edges = [20, *_BANDS.values()]
    bands = [np.log(spectrum[(frequency >= low) & (frequency <= high)].mean() + 1e-12) for low, high in pairwise(edges)]
    loud = np.sqrt(power.sum(axis=1))
    bright = np.log((spectrum * frequency).sum() / spectrum.sum())
    noisy = np.exp(np.log(spectrum[2:]).mean()) / spectrum[2:].mean()
    swings = np.abs(np.fft.rfft((loud - loud.mean()) * np.hanning(len(loud)))) ** 2
    rates = np.fft.rfftfreq(len(loud), 0.01)
    starts = [*_SWINGS.values(), 50]
    depth = [
        np.log(swings[(rates >= low) & (rates < high)].sum() / loud.sum() ** 2 + 1e-9) for low, high in pairwise(starts)
    ]
    filled = (loud > 0.2 * loud.max()).mean()
    return np.array([bright, np.log(noisy), filled, *(np.array(bands) - max(bands)), *depth])


def levels_of(measured: NDArray[np.float64], edges: list[NDArray[np.float64]]) -> list[str]:
    """Name the level of everything measured: "brightd", "bassa" …"""
    return [
        f"{name}{LETTERS[np.searchsorted(own, value)]}"
        for name, own, value in zip(MEASURED, edges, measured, strict=True)
    ]


def level_edges(waves: list[Wave]) -> list[NDArray[np.float64]]:
    """Find the edges between levels, such that each has as many of the waves."""
    measured = np.array([measure(wave) for wave in waves])
    return [np.quantile(column, np.arange(1, n) / n) for column, n in zip(measured.T, MEASURED.values(), strict=True)]


@dataclass
class Example:
    """A clip and all that is true of it."""

    wave: Wave
    sources: list[str]
    said: dict[str, list[str]]  #: words by what they are about
    levels: list[str] = field(default_factory=list)


def make_example(rng: np.random.Generator, seconds: float, sources: tuple[str, ...] = TRAINING_SOURCES) -> Example:
    """Make a clip of one kind, or sometimes of two."""
    kinds = [draw_kind(rng, sources)]
    if rng.random() < 0.2:
        kinds.append(draw_kind(rng, sources))
    scene, n = draw_scene(rng), int(RATE * seconds)
    waves = [synthesize_dry(rng, kind, n) for kind in kinds]
    mixed = sum(wave / (np.sqrt(np.mean(wave**2)) + 1e-9) * 10 ** rng.uniform(-0.2, 0.2) for wave in waves)
    said = {about: sorted({getattr(kind, about) for kind in kinds}) for about in ("register", "pattern", "timbre")}
    said["speed"] = sorted({kind.speed for kind in kinds if kind.pattern not in _UNHURRIED})
    said |= {"room": [scene.room], "background": [scene.background]}
    return Example(apply_scene(rng, np.asarray(mixed), scene), sorted({kind.source for kind in kinds}), said)


@dataclass
class Lesson:
    """A question about a clip, an answer, and how likely each word should be to come first."""

    question: str
    answer: list[str]
    first: dict[str, float]


def make_lesson(rng: np.random.Generator, example: Example, without: frozenset[str] = frozenset()) -> Lesson:
    """Ask mostly what a clip is, else one thing about it. Where parts are left out, only what it is."""
    kind = rng.random()
    if without or kind < 0.65:
        return _description(rng, example, without)
    if kind < 0.78:
        wrong = rng.choice([s for s in TRAINING_SOURCES if s not in example.sources], rng.integers(2, 8), replace=False)
        right = str(rng.choice(example.sources))
        options = rng.permutation([*wrong, right]).tolist()
        return _told(OPTIONS.format(question=WHAT, options=", ".join(options)), right)
    if kind < 0.85:
        there = rng.random() < 0.5
        one = rng.choice(example.sources if there else [s for s in TRAINING_SOURCES if s not in example.sources])
        return _told(f"Is there a {one}?", "yes" if there else "no")
    if kind < 0.88 or len(example.sources) > 1:
        return _told("How many sounds are there?", "one" if len(example.sources) == 1 else "two")
    about = str(rng.choice([a for a in ASKED if example.said[a]]))
    return _told(ASKED[about][0], str(rng.choice(example.said[about])))


def _told(question: str, word: str) -> Lesson:
    return Lesson(question, [word], {word: 1.0})


def _description(rng: np.random.Generator, example: Example, without: frozenset[str]) -> Lesson:
    """Say some of what there is to say, in any order: so all of it must be known when the question ends."""
    first = what_is_true(example, without)
    order = rng.choice(list(first), min(_SAID, len(first)), replace=False, p=list(first.values()))
    return Lesson(str(rng.choice(PARAPHRASES, p=(0.7, 0.1, 0.1, 0.1))), order.tolist(), first)


def what_is_true(example: Example, without: frozenset[str] = frozenset()) -> dict[str, float]:
    """Return every word that is true of a clip, with how likely a description is to begin with it.

    ``without`` some of :data:`PARTS`: what is not taught, to see what it is worth.
    """
    weights: dict[str, float] = {}
    if "names" not in without:
        weights |= {word: _WEIGHTS["source"] / len(example.sources) for word in example.sources}
    if "attributes" not in without:
        for about, words in example.said.items():
            weights |= {word: _WEIGHTS[about] / len(words) for word in words}
    if "levels" not in without:
        weights |= dict.fromkeys(example.levels, _MEASURED_WEIGHT)
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()}


def all_words() -> list[str]:
    """Return every word that an answer may hold."""
    levels = [f"{name}{level}" for name, n in MEASURED.items() for level in LETTERS[:n]]
    asked = [word for _, words in ASKED.values() for word in words]
    return [*TRAINING_SOURCES, *asked, *levels, "yes", "no", "one", "two"]


def all_text() -> list[str]:
    """Return text for a tokenizer to learn from: every word as it begins an answer, and as it goes on."""
    questions = [*PARAPHRASES, *(question for question, _ in ASKED.values()), "How many sounds are there?"]
    questions += ["Is there a bell?", " Choose from: Options: a, b, c."]
    frame = ["system\nYou are a helpful assistant.\n", "user\nAudio 1: \n", "assistant\n"]
    return [*frame, *questions, *(form for word in all_words() for form in (word, " " + word))]
