"""The KV cache of the prompt prefix is computed once and does not change head vectors."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calm.extract import LALM, collect_results, find_clips, head_vectors, load_lalm, record_heads
from calm.extract.forward.prefix_cache import PrefixCaches, compute_prefix_cache, shared_prefix_tokens
from tests.conftest import noise

QUESTION = "What is the sound in this audio clip?"
SOUND = 1


@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=n)),
    st.integers(1, 3),
)
def test_the_prefix_is_the_common_start_before_the_audio(prompts: list[list[int]], tokens: int) -> None:
    ids = torch.zeros(len(prompts), max(map(len, prompts)), dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    found = shared_prefix_tokens({"input_ids": ids, "attention_mask": (ids > 0).long()}, [SOUND], tokens)
    expected: list[int] = []
    for column in zip(*prompts, strict=False):
        if len(set(column)) > 1 or column[0] == SOUND:
            break
        expected.append(column[0])
    shortest = min(map(len, prompts))
    assert list(found) == expected[: max(0, shortest - tokens)]


@pytest.fixture
def lengths_read(tiny: LALM) -> Iterator[list[int]]:
    """Record how many positions the decoder's first layer reads in each forward pass."""
    lengths: list[int] = []
    hook = tiny.heads.projections[0].register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    yield lengths
    hook.remove()


@pytest.mark.parametrize("how", [{}, {"tokens": 4}, {"layers": [3, 1]}], ids=str)
def test_the_prefix_cache_does_not_change_head_vectors(tiny: LALM, lengths_read: list[int], how: dict) -> None:
    waves = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 0.4, 2.0))]
    chats = [tiny.builder.chat(question) for question in (QUESTION, "Hm?", "Who is it?")]
    prepared = tiny.builder.prepare(waves, chats)
    prefixes = PrefixCaches(tiny, how.get("tokens", 1), how.get("layers"))
    prefix = prefixes.get(prepared)
    assert prefix is not None and prefixes.get(prepared) is prefix
    lengths_read.clear()
    found, expected = (record_heads(tiny.model, tiny.heads, prepared, prefix=p, **how) for p in (prefix, None))
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
    assert lengths_read == [lengths_read[1] - prefix.length, lengths_read[1]] and prefix.length > 10


def test_extraction_skips_the_prompt_prefix(tiny: LALM, lengths_read: list[int]) -> None:
    clips = find_clips([noise(1.0, seed) for seed in range(4)])
    vectors = collect_results(head_vectors(tiny, clips, [QUESTION] * 4, batch_size=2)).values
    assert vectors is not None
    beginning, *passes = lengths_read
    inputs = tiny.inputs([noise(1.0, 0)], [tiny.builder.chat(QUESTION)])
    assert beginning > 10 and passes == [inputs["input_ids"].shape[1] - beginning] * 2
    expected = record_heads(tiny.model, tiny.heads, inputs)[0].numpy()
    np.testing.assert_allclose(vectors[0], expected, atol=1e-5 * np.abs(expected).max())


def test_replaced_embeddings_disable_the_prefix_cache(lengths_read: list[int]) -> None:
    """A model that replaces the embedding of a prefix token runs over the whole prompt."""
    lalm = load_lalm("tiny-random", device="cpu")
    prepared = lalm.builder.prepare([noise(1.0)], [lalm.builder.chat(QUESTION)])
    prefix = PrefixCaches(lalm).get(prepared)
    assert prefix is not None
    expected = record_heads(lalm.model, lalm.heads, prepared)
    prefix.embeddings = prefix.embeddings + 1
    found = record_heads(lalm.model, lalm.heads, prepared, prefix=prefix)
    assert prefix.verified is False
    torch.testing.assert_close(found, expected)


def test_a_decoder_with_recurrent_or_sliding_state_has_no_prefix_cache() -> None:
    lalm = load_lalm("tiny-random", device="cpu")
    decoder = lalm.model.get_decoder()
    decoder.config.sliding_window, decoder.has_sliding_layers = 6, True
    decoder.config.layer_types = ["sliding_attention"] * len(decoder.layers)
    assert compute_prefix_cache(lalm.model, lalm.heads, tuple(range(10, 20)), 5) is None


def test_the_oldest_prefix_caches_are_dropped() -> None:
    lalm = load_lalm("tiny-random", device="cpu")
    prefixes = PrefixCaches(lalm)
    for letter in "abcdefgh":
        chat = letter * 8 + lalm.builder.chat(QUESTION)
        assert prefixes.get(lalm.builder.prepare([noise(0.5)], [chat])) is not None
    assert len(prefixes._caches) <= 4


def test_threads_take_turns_on_one_model() -> None:
    """The hooks and prefix caches of one thread do not affect another."""
    lalm = load_lalm("tiny-random", device="cpu")
    clips = find_clips([noise(0.3, seed) for seed in range(6)])

    def vectors(question: str) -> np.ndarray:
        found = collect_results(head_vectors(lalm, clips, [question] * len(clips), batch_size=1)).values
        assert found is not None
        return found

    questions = [f"{letter}?" for letter in "abcd"] * 3
    alone = {question: vectors(question) for question in set(questions)}
    with ThreadPoolExecutor(4) as pool:
        for question, found in zip(questions, pool.map(vectors, questions), strict=True):
            np.testing.assert_allclose(found, alone[question], atol=1e-5)


@pytest.mark.parametrize("layers", [[], [6], [-1]], ids=str)
def test_layers_that_are_not_there_are_refused(tiny: LALM, layers: list[int]) -> None:
    with pytest.raises(ValueError, match="layers must be one or more of 0 … 5"):
        list(head_vectors(tiny, find_clips([noise(0.3)]), [QUESTION], layers=layers))
