"""Examples made by several processes, and batches of lessons about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lessons import Example, Lesson, levels_of, make_example, make_lesson, measure, what_is_true
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor

Edges = list[NDArray[np.float64]]
_AT_ONCE = 64  #: examples that a process makes before it reports
_LEAST = 4096  #: examples to begin with
_MOST = 40_000  #: examples that are kept


@dataclass(frozen=True)
class Making:
    """Which examples are made."""

    seconds: int
    edges: Edges  #: of levels
    sources: tuple[str, ...]


def make_examples(job: tuple[tuple[int, ...], Making]) -> tuple[NDArray[np.float16], list[Example]]:
    """Make some examples: their features ``(n, mel bins, frames)``, and what is true of them."""
    seed, making = job
    torch.set_num_threads(1)
    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16000, chunk_length=making.seconds)
    rng = np.random.default_rng(seed)
    examples = [make_example(rng, making.seconds, making.sources) for _ in range(_AT_ONCE)]
    mel = extractor([e.wave.astype(np.float32) for e in examples], sampling_rate=16000, return_tensors="np")
    for example in examples:
        example.levels = levels_of(measure(example.wave), making.edges)
        example.wave = np.empty(0)  # what has been heard need not be kept
    return mel["input_features"].astype(np.float16), examples


class Examples:
    """The latest examples; each is used a few times, under different questions, before newer ones come.

    They are made while the model waits: two cores that do both at once are slower than in turn.
    """

    def __init__(self, makers: Any, seed: tuple[int, ...], making: Making, uses: int) -> None:
        self.makers, self.seed, self.making, self.uses = makers, seed, making, uses
        self.features: list[NDArray[np.float16]] = []
        self.examples: list[Example] = []
        self.made = self.used = 0

    def draw(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.float16], list[Example]]:
        """Draw ``n`` of them."""
        if self.made == 0 or self.used > self.uses * self.made:
            self._make(max(_LEAST, 24 * n) if self.made else _LEAST)
        self.used += n
        chosen = rng.choice(len(self.examples), n, replace=False)
        return np.stack([self.features[i] for i in chosen]), [self.examples[i] for i in chosen]

    def _make(self, n: int) -> None:
        jobs = [((*self.seed, self.made + i), self.making) for i in range(0, n, _AT_ONCE)]
        for features, examples in self.makers.map(make_examples, jobs):
            self.features += list(features)
            self.examples += examples
        self.made += len(jobs) * _AT_ONCE
        self.features, self.examples = self.features[-_MOST:], self.examples[-_MOST:]


class Batches:
    """Turns examples into what the model takes, and what it should say."""

    def __init__(
        self, tokenizer: Any, chat: Callable[[str], str], device: str, without: frozenset[str] = frozenset()
    ) -> None:
        self.tokenizer, self.chat, self.device, self.without = tokenizer, chat, device, without
        self.audio = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
        self.known: dict[str, list[int]] = {}

    def of(
        self, rng: np.random.Generator, features: NDArray[np.float16], examples: list[Example]
    ) -> dict[str, torch.Tensor]:
        """Ask something about each example.

        Returns
        -------
        dict
            ``ids``, ``mask`` and ``labels`` (n, length), padded on the right; ``starts`` (n,), where the question ends;
            ``first`` (n, vocabulary), how likely each token should be to come then; ``heard``, the same for a
            description, whatever was asked; ``features`` (n, mel bins, frames).
        """
        lessons = [make_lesson(rng, example, self.without) for example in examples]
        rows = [(self._prompt(lesson.question, features.shape[2] // 4), self._answer(lesson)) for lesson in lessons]
        longest = max(len(prompt) + len(answer) for prompt, answer in rows)
        ids = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        first, heard = torch.zeros(2, len(rows), len(self.tokenizer))
        for i, (prompt, answer) in enumerate(rows):
            end = len(prompt) + len(answer)
            ids[i, :end] = torch.tensor(prompt + answer)
            mask[i, :end] = 1
            labels[i, len(prompt) + 1 : end] = torch.tensor(answer[1:])
            for shares, into in ((lessons[i].first, first), (what_is_true(examples[i], self.without), heard)):
                for word, share in shares.items():
                    into[i, self.token(word)] += share
        starts = torch.tensor([len(prompt) - 1 for prompt, _ in rows])
        batch = {"ids": ids, "mask": mask, "labels": labels, "starts": starts, "first": first, "heard": heard}
        batch["features"] = torch.from_numpy(features).float()
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def token(self, word: str) -> int:
        """Return the one token that begins an answer with this word."""
        (token,) = self._tokens(word)
        return token

    def _prompt(self, question: str, audio_tokens: int) -> list[int]:
        before, after = self.chat(question).split("<|AUDIO|>")
        return [*self._tokens(before), *[self.audio] * audio_tokens, *self._tokens(after)]

    def _answer(self, lesson: Lesson) -> list[int]:
        later = [token for word in lesson.answer[1:] for token in self._tokens(" " + word)]
        return [self.token(lesson.answer[0]), *later, self.tokenizer.eos_token_id]

    def _tokens(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.known[text]
