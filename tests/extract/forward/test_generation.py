"""Head vectors of generated tokens equal those of one forward pass over prompt and answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

from calm.extract import LALM, HeadRecorder, answer_log_likelihoods, find_heads, record_generation, record_heads
from tests.conftest import noise
from tests.extract.forward.test_recorder import small_decoder

QUESTIONS = ("What is the sound in this audio clip?", "Hm?")
NEW = 9


def make_inputs(lalm: LALM, clips: int = 2) -> Mapping[str, Any]:
    waves = [noise(0.5 + i, i) for i in range(clips)]
    chats = [lalm.builder.chat(QUESTIONS[i % 2]) for i in range(clips)]
    return lalm.inputs(waves, chats, padding_side="left")


def whole_pass(lalm: LALM, inputs: Mapping[str, Any], answer: torch.Tensor) -> torch.Tensor:
    """Return the vectors of all positions, ``(clips, layers, positions, heads, dim)``, recorded by separate hooks."""
    times = len(answer) // len(inputs["input_ids"])
    inputs = {name: tensor.repeat_interleave(times, dim=0) for name, tensor in inputs.items()}
    longer = {
        "input_ids": torch.cat([inputs["input_ids"], answer], dim=1),
        "attention_mask": torch.cat([inputs["attention_mask"], torch.ones_like(answer)], dim=1),
    }
    recorded: list[torch.Tensor] = []
    hooks = [p.register_forward_pre_hook(lambda _, args: recorded.append(args[0])) for p in lalm.heads.projections]
    with torch.inference_mode():
        lalm.model(**inputs | longer, use_cache=False)
    for hook in hooks:
        hook.remove()
    return torch.stack(recorded, dim=1).unflatten(-1, (8, 32))


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("how", [{}, {"do_sample": True, "num_return_sequences": 3}], ids=["greedy", "sampled"])
def test_vectors_along_an_answer_are_those_of_a_whole_pass(tiny: LALM, every: int, how: dict[str, Any]) -> None:
    torch.manual_seed(0)
    inputs = make_inputs(tiny)
    settings = {"do_sample": False, "min_new_tokens": NEW, "max_new_tokens": NEW} | how
    found = record_generation(tiny, inputs, every=every, tokens=3, **settings)
    answers = 2 * how.get("num_return_sequences", 1)
    length = inputs["input_ids"].shape[1]
    expected = whole_pass(tiny, inputs, found.tokens)
    assert found.steps == list(range(0, NEW - 1, every))  # the last token is never read
    assert found.tokens.shape == (answers, NEW) and found.heads.shape == (answers, len(found.steps), 6, 8, 32)
    close(found.prompt, expected[:, :, length - 3 : length].mean(dim=2))
    close(found.heads, expected[:, :, length:][:, :, found.steps].transpose(1, 2))
    assert found.answered.all()
    # The compared vectors differ from step to step.
    assert (found.heads[:, 0] - found.heads[:, 1]).abs().max() > 0.01 * found.heads.abs().max()


def test_chosen_layers_alone_are_recorded_in_their_order(tiny: LALM) -> None:
    how: dict[str, Any] = {"do_sample": False, "min_new_tokens": 4, "max_new_tokens": 4}
    whole = record_generation(tiny, make_inputs(tiny), **how)
    some = record_generation(tiny, make_inputs(tiny), layers=[4, 1], **how)
    torch.testing.assert_close(some.heads, whole.heads[:, :, [4, 1]])
    torch.testing.assert_close(some.prompt, whole.prompt[:, [4, 1]])
    assert not any(projection._forward_pre_hooks for projection in tiny.heads.projections)


def test_tokens_after_the_end_of_an_answer_are_marked(tiny: LALM) -> None:
    inputs = make_inputs(tiny)
    how: dict[str, Any] = {"do_sample": False, "max_new_tokens": NEW}
    end = int(record_generation(tiny, inputs, min_new_tokens=NEW, **how).tokens[0, 3])  # the first answer ends there
    found = record_generation(tiny, inputs, eos_token_id=end, pad_token_id=0, **how)
    ends_at = [row.index(end) if end in row else NEW for row in found.tokens.tolist()]
    assert min(ends_at) < max(ends_at) and found.steps == list(range(found.tokens.shape[1] - 1))
    for row, at in enumerate(ends_at):
        assert found.answered[row].tolist() == [step <= at for step in found.steps]


@pytest.mark.parametrize("how", [{"num_beams": 2}, {"prompt_lookup_num_tokens": 2}], ids=str)
def test_tokens_that_are_not_generated_one_by_one_are_refused(tiny: LALM, how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="use neither beam search nor assisted generation"):
        record_generation(tiny, make_inputs(tiny), **how)


def test_prompts_that_are_padded_on_the_right_are_refused(tiny: LALM) -> None:
    chats = [tiny.builder.chat(question) for question in QUESTIONS]
    inputs = tiny.inputs([noise(1.0), noise(0.3)], chats)
    with pytest.raises(ValueError, match="padding_side"):
        record_generation(tiny, inputs)


@given(parts=st.lists(st.integers(1, 5), min_size=1, max_size=4), tokens=st.integers(1, 6), every=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_a_prompt_that_comes_in_parts_is_one_prompt(parts: list[int], tokens: int, every: int) -> None:
    """Long prompts are processed in chunks. The tokens after the prompt count as generated."""
    from transformers.cache_utils import DynamicCache

    model = small_decoder(num_key_value_heads=2)
    heads, generated = find_heads(model), 5
    ids = torch.randint(1, 50, (2, sum(parts) + generated), generator=torch.Generator().manual_seed(sum(parts)))
    mask = torch.ones(2, sum(parts), dtype=torch.long)
    written: list[torch.Tensor] = []
    hooks = [p.register_forward_pre_hook(lambda _, args: written.append(args[0])) for p in heads.projections]
    with torch.no_grad():
        model(input_ids=ids)
    for hook in hooks:
        hook.remove()
    expected = torch.stack(written, dim=2).unflatten(-1, (6, 4))  # (clips, positions, layers, heads, dim)
    cache, at = DynamicCache(config=model.config), 0
    with torch.no_grad(), HeadRecorder(heads, mask, tokens=tokens, every=every) as recorder:
        for part in [*parts, *[1] * generated]:
            model(input_ids=ids[:, at : at + part], past_key_values=cache, use_cache=True)
            at += part
    counted = min(tokens, sum(parts))
    close(recorder.prompt, expected[:, sum(parts) - counted : sum(parts)].mean(dim=1))
    assert recorder.steps == list(range(0, generated, every))
    close(recorder.generated, expected[:, sum(parts) :][:, recorder.steps])


def test_a_part_that_reaches_beyond_the_prompt_is_refused() -> None:
    model = small_decoder()
    ids = torch.ones(1, 7, dtype=torch.long)
    with (
        pytest.raises(RuntimeError, match="does not match the attention mask"),
        HeadRecorder(find_heads(model), torch.ones(1, 5), every=1),
    ):
        model(input_ids=ids)


def test_nothing_generated_has_no_vectors(tiny: LALM) -> None:
    found = record_generation(tiny, make_inputs(tiny), do_sample=False, max_new_tokens=1)
    assert found.heads.shape == (2, 0, 6, 8, 32) and found.steps == []
    assert np.isfinite(found.prompt.numpy()).all()


def test_settings_of_a_generation_config_hold(tiny: LALM) -> None:
    settings = GenerationConfig(num_beams=2, max_new_tokens=4)
    with pytest.raises(ValueError, match="neither beam search"):
        record_generation(tiny, make_inputs(tiny), generation_config=settings)
    end = int(
        record_generation(tiny, make_inputs(tiny), do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW).tokens[0, 3]
    )
    how: dict[str, Any] = {"eos_token_id": end, "pad_token_id": 0, "max_new_tokens": NEW, "do_sample": False}
    given = record_generation(
        tiny, make_inputs(tiny), generation_config=GenerationConfig(**how), return_dict_in_generate=True
    )
    expected = record_generation(tiny, make_inputs(tiny), **how)
    assert given.tokens.tolist() == expected.tokens.tolist()
    assert given.answered.tolist() == expected.answered.tolist() and not given.answered.all()


def test_a_recorder_can_be_used_again(tiny: LALM) -> None:
    first, second = (tiny.inputs([noise(0.5, seed)], [tiny.builder.chat("Hm?")]) for seed in (0, 1))
    recorder = HeadRecorder(tiny.heads, first["attention_mask"])
    with torch.inference_mode():
        for inputs in (first, second):
            with recorder:
                tiny.model(**inputs, use_cache=False)
            torch.testing.assert_close(recorder.prompt, record_heads(tiny.model, tiny.heads, inputs))


def test_what_else_runs_inside_of_an_open_recorder_does_not_wait_for_ever(tiny: LALM) -> None:
    inputs, other = make_inputs(tiny), tiny.inputs([noise(3.0)], [tiny.builder.chat("Who?")], padding_side="left")
    with (
        pytest.raises(RuntimeError, match="does not match the attention mask"),
        HeadRecorder(tiny.heads, inputs["attention_mask"], every=1),
    ):
        answer_log_likelihoods(tiny, other, ["dog", "rain"])


def test_more_tokens_than_there_are_make_the_mean_over_all(tiny: LALM) -> None:
    inputs = make_inputs(tiny)
    length = inputs["input_ids"].shape[1]
    many = record_heads(tiny.model, tiny.heads, inputs, tokens=10**12)
    torch.testing.assert_close(many, record_heads(tiny.model, tiny.heads, inputs, tokens=length))
