"""
Training batches
================

:class:`ExamplePool` synthesizes examples in several processes and keeps the latest ones. :class:`BatchBuilder` turns
examples into token ids, features and targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lessons import Example, Lesson, description_probabilities, make_example, make_lesson, measure, name_levels
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

LevelEdges = list[NDArray[np.float64]]
_JOB_SIZE = 64  #: examples that a process makes per job
_MIN_NEW = 4096  #: smallest number of examples made at a time
_MAX_KEPT = 40_000  #: examples kept in memory


@dataclass(frozen=True)
class ExampleOptions:
    """Options of the examples to make."""

    seconds: int
    edges: LevelEdges
    sources: tuple[str, ...]


def make_examples(job: tuple[tuple[int, ...], ExampleOptions]) -> tuple[NDArray[np.float16], list[Example]]:
    """Make one job of examples; return their features ``(n, mel bins, frames)`` and the examples without waveforms."""
    seed, options = job
    torch.set_num_threads(1)
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16000, chunk_length=options.seconds)
    rng = np.random.default_rng(seed)
    examples = [make_example(rng, options.seconds, options.sources) for _ in range(_JOB_SIZE)]
    mel = extractor([e.wave.astype(np.float32) for e in examples], sampling_rate=16000, return_tensors="np")
    for example in examples:
        example.levels = name_levels(measure(example.wave), options.edges)
        example.wave = np.empty(0)  # not needed any more, and large
    return mel["input_features"].astype(np.float16), examples


class ExamplePool:
    """The latest examples; each is used about ``uses`` times, with different questions.

    New examples are made while training waits: on two cores, both at once are slower than one after the other.
    """

    def __init__(self, workers: Any, seed: tuple[int, ...], options: ExampleOptions, uses: int) -> None:
        self.workers, self.seed, self.options, self.uses = workers, seed, options, uses
        self.features: list[NDArray[np.float16]] = []
        self.examples: list[Example] = []
        self.made = self.used = 0

    def draw(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.float16], list[Example]]:
        """Draw ``n`` different examples with their features; make new examples first if these are used up."""
        if self.made == 0 or self.used > self.uses * self.made:
            self._make(max(_MIN_NEW, 24 * n) if self.made else _MIN_NEW)
        self.used += n
        chosen = rng.choice(len(self.examples), n, replace=False)
        return np.stack([self.features[i] for i in chosen]), [self.examples[i] for i in chosen]

    def _make(self, n: int) -> None:
        jobs = [((*self.seed, self.made + i), self.options) for i in range(0, n, _JOB_SIZE)]
        for features, examples in self.workers.map(make_examples, jobs):
            self.features += list(features)
            self.examples += examples
        self.made += len(jobs) * _JOB_SIZE
        self.features, self.examples = self.features[-_MAX_KEPT:], self.examples[-_MAX_KEPT:]


class BatchBuilder:
    """Asks a question about each example, and builds model inputs and targets."""

    def __init__(
        self, tokenizer: Any, chat: Callable[[str], str], device: str, without: frozenset[str] = frozenset()
    ) -> None:
        self.tokenizer, self.chat, self.device, self.without = tokenizer, chat, device, without
        self.audio_token = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
        self.token_cache: dict[str, list[int]] = {}

    def build(
        self, rng: np.random.Generator, features: NDArray[np.float16], examples: list[Example]
    ) -> dict[str, torch.Tensor]:
        """Draw one lesson per example, and build a batch of them.

        Returns
        -------
        dict of Tensor
            ``ids``, ``mask`` and ``labels`` of shape (n, length), padded on the right; ``prompt_end`` of shape (n,),
            the position of the last prompt token; ``first_word`` of shape (n, vocabulary), the target distribution of
            the first answer token; ``description`` of the same shape, the target distribution if the question asked
            for a description; ``features`` of shape (n, mel bins, frames).
        """
        lessons = [make_lesson(rng, example, self.without) for example in examples]
        audio_tokens = features.shape[2] // 4
        rows = [(self._tokenize_prompt(lesson, audio_tokens), self._tokenize_answer(lesson)) for lesson in lessons]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        first_word, description = torch.zeros(2, len(rows), len(self.tokenizer))
        for i, (prompt, answer) in enumerate(rows):
            end = len(prompt) + len(answer)
            ids[i, :end] = torch.tensor(prompt + answer)
            mask[i, :end] = 1
            labels[i, len(prompt) + 1 : end] = torch.tensor(answer[1:])
            self._add_probabilities(lessons[i].first_word, first_word[i])
            self._add_probabilities(description_probabilities(examples[i], self.without), description[i])
        batch = {
            "ids": ids,
            "mask": mask,
            "labels": labels,
            "prompt_end": torch.tensor([len(prompt) - 1 for prompt, _ in rows]),
            "first_word": first_word,
            "description": description,
            "features": torch.from_numpy(features).float(),
        }
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def first_token(self, word: str) -> int:
        """Return the token of a word at the beginning of an answer; every answer word is one token."""
        (token,) = self._tokenize(word)
        return token

    def _add_probabilities(self, probabilities: dict[str, float], target: torch.Tensor) -> None:
        for word, probability in probabilities.items():
            target[self.first_token(word)] += probability

    def _tokenize_prompt(self, lesson: Lesson, audio_tokens: int) -> list[int]:
        before, after = self.chat(lesson.question).split("<|AUDIO|>")
        return [*self._tokenize(before), *[self.audio_token] * audio_tokens, *self._tokenize(after)]

    def _tokenize_answer(self, lesson: Lesson) -> list[int]:
        later = [token for word in lesson.answer[1:] for token in self._tokenize(" " + word)]
        return [self.first_token(lesson.answer[0]), *later, self.tokenizer.eos_token_id]

    def _tokenize(self, text: str) -> list[int]:
        if text not in self.token_cache:
            self.token_cache[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.token_cache[text]
