"""Zero-shot classification scores each label by the likelihood of its tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from calm import zero_shot
from calm.extract import LALM, answer_log_likelihoods
from tests.conftest import noise, short_of_memory, tone

ANSWERS = ["rain", "a dog that barks", "x", "Options: Choose", "rain and wind"]


def alone(lalm: LALM, wave: np.ndarray, chat: str, answer: str) -> float:
    """Run prompt and answer through the model in one pass; return the mean log-likelihood of the answer's tokens."""
    inputs = lalm.inputs([wave], [chat + answer])
    tokens = lalm.processor.tokenizer(answer)["input_ids"]
    assert inputs["input_ids"][0, -len(tokens) :].tolist() == tokens
    with torch.inference_mode():
        logits = lalm.model(**inputs).logits[0].float().log_softmax(-1)
    before = range(len(logits) - len(tokens) - 1, len(logits) - 1)
    return float(np.mean([logits[at, token].item() for at, token in zip(before, tokens, strict=True)]))


def test_one_prefix_pass_gives_what_whole_passes_give(tiny: LALM) -> None:
    waves = [noise(0.7), tone(900, 3.0), noise(5.0, seed=2)]  # of different length: padded
    chats = [tiny.builder.chat(text) for text in ("What is this?", "What do you hear in it, then?", "Hm?")]
    inputs = tiny.inputs(waves, chats, padding_side="left")
    found = answer_log_likelihoods(tiny, inputs, ANSWERS)
    expected = [
        [alone(tiny, wave, chat, answer) for answer in ANSWERS] for wave, chat in zip(waves, chats, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-4)


def test_likelihoods_are_of_probabilities_and_do_not_depend_on_the_other_answers(tiny: LALM) -> None:
    inputs = tiny.inputs([noise(1.0)], [tiny.builder.chat("Hm?")], padding_side="left")
    every = list(range(len(tiny.processor.tokenizer)))
    first = [tiny.processor.tokenizer.decode([token]) for token in every[300:340]]
    found = answer_log_likelihoods(tiny, inputs, [*first, *ANSWERS])
    assert (found < 0).all()
    torch.testing.assert_close(found[:, -5:], answer_log_likelihoods(tiny, inputs, ANSWERS))
    with pytest.raises(ValueError, match="no answers"):
        answer_log_likelihoods(tiny, inputs, [])
    right = tiny.inputs([noise(1.0)] * 2, [tiny.builder.chat("Hm?"), tiny.builder.chat("Which of these is it?")])
    with pytest.raises(ValueError, match="padded on the right"):
        answer_log_likelihoods(tiny, right, ANSWERS)
    with pytest.raises(ValueError, match="'' has no tokens"):
        answer_log_likelihoods(tiny, inputs, ["rain", ""])


def test_clips_are_labelled_in_batches_as_alone_and_bad_ones_are_named(tiny: LALM, tmp_path: Path) -> None:
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", tone(400 * (i + 1), 0.5 + i), 16000)
    (tmp_path / "bad.wav").write_text("no sound")
    paths = [tmp_path / name for name in ("0.wav", "bad.wav", "1.wav", "2.wav")]
    together = zero_shot(tiny, paths, ["low", "very high"], batch_size=4)
    one_by_one = zero_shot(tiny, paths, ["low", "very high"], batch_size=1)
    assert [clip.name for clip in together.clips] == [str(paths[i]) for i in (0, 2, 3)]
    assert list(together.failures) == [str(paths[1])]
    assert len(zero_shot(tiny, [paths[1], paths[1]], ["low", "very high"]).failures) == 2
    np.testing.assert_allclose(together.scores, one_by_one.scores, atol=2e-4)
    assert set(together.labels) <= {"low", "very high"} and together.labels.shape == (3,)
    other = zero_shot(tiny, paths, ["low", "very high"], question="Which?", template="{question}")
    assert not np.allclose(other.scores, together.scores)  # the question is asked
    waves, _ = soundfile.read(paths[0], dtype="float32")
    np.testing.assert_allclose(zero_shot("tiny", [waves], ["low", "very high"]).scores, together.scores[:1], atol=2e-4)


def test_without_options_in_the_template_scores_do_not_depend_on_other_labels(tiny: LALM) -> None:
    clips = [noise(1.0)]
    two = zero_shot(tiny, clips, ["a", "b"], template="{question}")
    three = zero_shot(tiny, clips, ["b", "a", "c"], template="{question}")
    np.testing.assert_allclose(two.scores[0], three.scores[0, [1, 0]], atol=1e-5)


def test_zero_shot_takes_a_folder_and_questions_of_clips(tiny: LALM, class_folder: Callable[..., Path]) -> None:
    folder = class_folder(2)
    result = zero_shot(tiny, folder, ["high", "low"])
    assert [clip.label for clip in result.clips] == ["high", "high", "low", "low"]
    np.testing.assert_array_equal(zero_shot(tiny, str(folder), ["high", "low"]).scores, result.scores)
    clips = [replace(clip, question="Hm?") for clip in result.clips]
    own = zero_shot(tiny, clips, ["high", "low"])
    np.testing.assert_allclose(own.scores, zero_shot(tiny, folder, ["high", "low"], question="Hm?").scores, atol=1e-5)
    mixed = zero_shot(tiny, [clips[0], str(folder / "high/0.wav"), tone(400)], ["high", "low"], question="Hm?")
    assert [clip.name for clip in mixed.clips[:2]] == ["high/0.wav", str(folder / "high/0.wav")]
    np.testing.assert_allclose(mixed.scores[:2], own.scores[[0, 0]], atol=1e-5)


def test_zero_shot_takes_the_sampling_rate_of_arrays(tiny: LALM) -> None:
    wave, labels = tone(440, 1.0, rate=44100), ["high", "low"]
    scores = zero_shot(tiny, [wave], labels, sampling_rate=44100).scores
    np.testing.assert_allclose(scores, zero_shot(tiny, [(wave, 44100)], labels).scores, atol=1e-5)
    assert not np.allclose(scores, zero_shot(tiny, [wave], labels, sampling_rate=16000).scores, atol=1e-3)
    with pytest.raises(ValueError, match="for a single clip, pass"):
        zero_shot(tiny, wave, labels)


def test_the_vocabulary_is_scored_at_one_position_only(tiny: LALM) -> None:
    lengths = []
    hook = tiny.model.get_output_embeddings().register_forward_hook(lambda _, args, out: lengths.append(out.shape[1]))
    answer_log_likelihoods(tiny, tiny.inputs([noise(2.0)], [tiny.builder.chat("Hm?")], padding_side="left"), ["x"])
    hook.remove()
    assert lengths == [1]


@pytest.mark.parametrize("labels", [[], ["dog"], ["dog", "dog"], "dog"])
def test_labels_must_be_different_and_two_at_least(tiny: LALM, labels: list[str] | str) -> None:
    with pytest.raises(ValueError, match="at least two labels, all different"):
        zero_shot(tiny, [noise(0.5)], labels)


def test_no_clips_get_no_labels(tiny: LALM) -> None:
    assert zero_shot(tiny, [], ["a", "b"]).scores.shape == (0, 2)


def test_a_batch_that_runs_out_of_memory_is_split(tiny: LALM, monkeypatch: pytest.MonkeyPatch) -> None:
    waves = [noise(0.5, seed) for seed in range(6)]
    whole = zero_shot(tiny, waves, ["bell", "wind"])
    sizes = short_of_memory(monkeypatch, tiny, clips=2)
    parted = zero_shot(tiny, waves, ["bell", "wind"])
    assert sizes[0] == 6 and parted.failures == {}
    np.testing.assert_allclose(parted.scores, whole.scores, atol=1e-4)


def test_options_that_are_none_of_a_question_are_refused(tiny: LALM) -> None:
    for options in ({"device": "cpu"}, {"tokens": 2}, {"colour": "red"}):
        with pytest.raises(TypeError, match=f"has no option {next(iter(options))}"):
            zero_shot(tiny, [noise(0.5)], ["dog", "rain"], **options)
