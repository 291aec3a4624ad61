"""
Lessons: questions and answers about synthesized clips
======================================================

An :class:`Example` is a clip with everything that is true of it: its sources, its attributes (register, pattern,
timbre, speed, room, background) and the levels of measured features. A :class:`Lesson` is a question about an example
with its answer.
"""

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
from calm.sounds.patterns import PATTERNS_WITHOUT_SPEED

WHAT = "What is the sound in this audio clip?"
PARAPHRASES = (WHAT, "What do you hear?", "Describe the sound.", "Which sound is this?")
#: Question about each attribute, and its possible answers.
ATTRIBUTE_QUESTIONS = {
    "register": ("How high is it?", tuple(REGISTERS)),
    "pattern": ("How does it go?", PATTERNS),
    "speed": ("How fast is it?", tuple(SPEEDS)),
    "timbre": ("What is its timbre?", TIMBRES),
    "room": ("What is the room like?", ROOMS),
    "background": ("What is in the background?", BACKGROUNDS),
}
CHOICE_QUESTION = "{question} Choose from: {options}."
PARTS = ("names", "attributes", "levels", "questions")  #: parts of the lessons that ``--without`` can leave out
LEVEL_LETTERS = "abcdefgh"  #: levels of a measured feature, from low to high

#: Upper edges of the measured frequency bands, in Hz.
_BANDS = {"sub": 60, "bass": 120, "tenor": 250, "mid": 500, "upper": 1000, "treble": 2000, "air": 4000, "top": 8000}
#: Lower edges of the measured bands of loudness modulation, in Hz.
_MODULATIONS = {"sway": 0.5, "pulse": 2, "flutter": 6, "grain": 15}
#: Number of levels of each measured feature.
N_LEVELS = {"bright": 8, "noisy": 5, "filled": 5, **dict.fromkeys(_BANDS, 5), **dict.fromkeys(_MODULATIONS, 4)}

#: Weights of the parts of a description in the distribution of its first word.
_WEIGHTS = {"source": 4.0, "register": 1.5, "pattern": 2.0, "speed": 1.5, "timbre": 1.0, "room": 0.7, "background": 0.7}
_LEVEL_WEIGHT = 0.5
_DESCRIPTION_WORDS = 5


def measure(wave: Wave) -> NDArray[np.float64]:
    """Measure the features of ``N_LEVELS``: brightness, noisiness, filled share, band levels, loudness modulation."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, 512)[::160] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 + 1e-9
    spectrum, frequency = power.mean(axis=0), np.fft.rfftfreq(512, 1 / RATE)
    band_edges = [20, *_BANDS.values()]
    bands = [
        np.log(spectrum[(frequency >= low) & (frequency <= high)].mean() + 1e-12) for low, high in pairwise(band_edges)
    ]
    loudness = np.sqrt(power.sum(axis=1))
    bright = np.log((spectrum * frequency).sum() / spectrum.sum())
    noisy = np.exp(np.log(spectrum[2:]).mean()) / spectrum[2:].mean()
    modulation = np.abs(np.fft.rfft((loudness - loudness.mean()) * np.hanning(len(loudness)))) ** 2
    rates = np.fft.rfftfreq(len(loudness), 0.01)
    rate_edges = [*_MODULATIONS.values(), 50]
    depth = [
        np.log(modulation[(rates >= low) & (rates < high)].sum() / loudness.sum() ** 2 + 1e-9)
        for low, high in pairwise(rate_edges)
    ]
    filled = (loudness > 0.2 * loudness.max()).mean()
    return np.array([bright, np.log(noisy), filled, *(np.array(bands) - max(bands)), *depth])


def name_levels(measured: NDArray[np.float64], edges: list[NDArray[np.float64]]) -> list[str]:
    """Return the word for the level of each measured feature, such as "brightd" or "bassa"."""
    return [
        f"{name}{LEVEL_LETTERS[np.searchsorted(feature_edges, value)]}"
        for name, feature_edges, value in zip(N_LEVELS, edges, measured, strict=True)
    ]


def find_level_edges(waves: list[Wave]) -> list[NDArray[np.float64]]:
    """Return the edges between the levels of each feature, so that equally many of the waves have each level."""
    measured = np.array([measure(wave) for wave in waves])
    return [np.quantile(column, np.arange(1, n) / n) for column, n in zip(measured.T, N_LEVELS.values(), strict=True)]


@dataclass
class Example:
    """A clip and everything that is true of it."""

    wave: Wave
    sources: list[str]
    attributes: dict[str, list[str]]  #: words by attribute; two words where two mixed sounds differ
    levels: list[str] = field(default_factory=list)


def make_example(rng: np.random.Generator, seconds: float, sources: tuple[str, ...] = TRAINING_SOURCES) -> Example:
    """Synthesize a clip of one kind or, in a fifth of the cases, a mix of two kinds."""
    kinds = [draw_kind(rng, sources)]
    if rng.random() < 0.2:
        kinds.append(draw_kind(rng, sources))
    scene, n = draw_scene(rng), int(RATE * seconds)
    waves = [synthesize_dry(rng, kind, n) for kind in kinds]
    mixed = sum(wave / (np.sqrt(np.mean(wave**2)) + 1e-9) * 10 ** rng.uniform(-0.2, 0.2) for wave in waves)
    attributes = {name: sorted({getattr(kind, name) for kind in kinds}) for name in ("register", "pattern", "timbre")}
    attributes["speed"] = sorted({kind.speed for kind in kinds if kind.pattern not in PATTERNS_WITHOUT_SPEED})
    attributes |= {"room": [scene.room], "background": [scene.background]}
    return Example(apply_scene(rng, np.asarray(mixed), scene), sorted({kind.source for kind in kinds}), attributes)


@dataclass
class Lesson:
    """A question about a clip and its answer."""

    question: str
    answer: list[str]  #: words
    first_word: dict[str, float]  #: target distribution of the first word of the answer


def make_lesson(rng: np.random.Generator, example: Example, without: frozenset[str] = frozenset()) -> Lesson:
    """Draw a lesson: mostly a description, otherwise a question about one property.

    With any of :data:`PARTS` in ``without``, all lessons are descriptions.
    """
    draw = rng.random()
    if without or draw < 0.65:
        return _describe(rng, example, without)
    if draw < 0.78:
        other_sources = [source for source in TRAINING_SOURCES if source not in example.sources]
        wrong = rng.choice(other_sources, rng.integers(2, 8), replace=False)
        right = str(rng.choice(example.sources))
        options = rng.permutation([*wrong, right]).tolist()
        return _make_one_word_lesson(CHOICE_QUESTION.format(question=WHAT, options=", ".join(options)), right)
    if draw < 0.85:
        is_present = rng.random() < 0.5
        other_sources = [source for source in TRAINING_SOURCES if source not in example.sources]
        source = rng.choice(example.sources if is_present else other_sources)
        return _make_one_word_lesson(f"Is there a {source}?", "yes" if is_present else "no")
    if draw < 0.88 or len(example.sources) > 1:
        return _make_one_word_lesson("How many sounds are there?", "one" if len(example.sources) == 1 else "two")
    attribute = str(rng.choice([name for name in ATTRIBUTE_QUESTIONS if example.attributes[name]]))
    return _make_one_word_lesson(ATTRIBUTE_QUESTIONS[attribute][0], str(rng.choice(example.attributes[attribute])))


def _make_one_word_lesson(question: str, word: str) -> Lesson:
    return Lesson(question, [word], {word: 1.0})


def _describe(rng: np.random.Generator, example: Example, without: frozenset[str]) -> Lesson:
    """Draw a few words that are true of the clip, in random order.

    Any true word may come first, so the model must know all of them at the last token of the question.
    """
    first_word = description_probabilities(example, without)
    words = rng.choice(
        list(first_word), min(_DESCRIPTION_WORDS, len(first_word)), replace=False, p=list(first_word.values())
    )
    return Lesson(str(rng.choice(PARAPHRASES, p=(0.7, 0.1, 0.1, 0.1))), words.tolist(), first_word)


def description_probabilities(example: Example, without: frozenset[str] = frozenset()) -> dict[str, float]:
    """Return every word that is true of a clip, with the probability that a description begins with it.

    Words of the :data:`PARTS` in ``without`` are left out.
    """
    weights: dict[str, float] = {}
    if "names" not in without:
        weights |= {word: _WEIGHTS["source"] / len(example.sources) for word in example.sources}
    if "attributes" not in without:
        for attribute, words in example.attributes.items():
            weights |= {word: _WEIGHTS[attribute] / len(words) for word in words}
    if "levels" not in without:
        weights |= dict.fromkeys(example.levels, _LEVEL_WEIGHT)
    total = sum(weights.values())
    return {word: weight / total for word, weight in weights.items()}


def list_answer_words() -> list[str]:
    """Return every word that occurs in answers."""
    levels = [f"{name}{level}" for name, n in N_LEVELS.items() for level in LEVEL_LETTERS[:n]]
    attributes = [word for _, words in ATTRIBUTE_QUESTIONS.values() for word in words]
    return [*TRAINING_SOURCES, *attributes, *levels, "yes", "no", "one", "two"]


def list_tokenizer_texts() -> list[str]:
    """Return the texts that the tokenizer is trained on; each answer word occurs with and without a leading space."""
    attribute_questions = [question for question, _ in ATTRIBUTE_QUESTIONS.values()]
    questions = [*PARAPHRASES, *attribute_questions, "How many sounds are there?"]
    questions += ["Is there a bell?", " Choose from: Options: a, b, c."]
    frame = ["system\nYou are a helpful assistant.\n", "user\nAudio 1: \n", "assistant\n"]
    return [*frame, *questions, *(form for word in list_answer_words() for form in (word, " " + word))]
