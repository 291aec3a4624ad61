"""The training script makes true lessons, resumes after an interruption, and writes a checkpoint that loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calm.extract import load_lalm
from calm.inference.zero_shot import zero_shot
from calm.sounds import HELD_OUT_SOURCES, TRAINING_SOURCES

SCRIPTS = Path(__file__).resolve().parents[1] / "examples" / "train_tiny"


@pytest.fixture(scope="module")
def scripts() -> Any:
    """The modules of the training script, which import each other as top-level modules."""
    sys.path.insert(0, str(SCRIPTS))
    import batches
    import lessons
    import losses
    import model
    import train

    yield {"batches": batches, "lessons": lessons, "losses": losses, "model": model, "train": train}
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def examples(scripts: Any) -> list[Any]:
    make, measure = scripts["lessons"].make_example, scripts["lessons"].measure
    drawn = [make(np.random.default_rng(i), 1.0) for i in range(40)]
    edges = scripts["lessons"].find_level_edges([example.wave for example in drawn])
    for example in drawn:
        example.levels = scripts["lessons"].name_levels(measure(example.wave), edges)
    return drawn


def test_lessons_are_true_and_say_nothing_of_what_is_kept_for_evaluation(scripts: Any, examples: list[Any]) -> None:
    rng, questions = np.random.default_rng(0), set()
    words = set(scripts["lessons"].list_answer_words())
    assert not words & set(HELD_OUT_SOURCES) and set(TRAINING_SOURCES) <= words
    for example in examples * 10:
        lesson = scripts["lessons"].make_lesson(rng, example)
        assert set(lesson.answer) <= set(lesson.first_word) <= words
        assert sum(lesson.first_word.values()) == pytest.approx(1)
        if "Choose from" in lesson.question:
            options = lesson.question.split(": ")[1].rstrip(".").split(", ")
            assert [option for option in options if option in example.sources] == lesson.answer
        elif lesson.question.startswith("Is there a"):
            there = lesson.question.removeprefix("Is there a ").rstrip("?") in example.sources
            assert lesson.answer == ["yes" if there else "no"]
        elif len(lesson.first_word) > 1:
            true = {
                *example.sources,
                *example.levels,
                *(word for words in example.attributes.values() for word in words),
            }
            assert set(lesson.first_word) == true
        questions.add(lesson.question.split(" Choose")[0].split("Is there a")[0])
    assert len(questions) > 8


def test_what_is_left_out_is_not_taught(scripts: Any, examples: list[Any]) -> None:
    lessons, rng = scripts["lessons"], np.random.default_rng(0)
    for example in examples:
        parts = {
            "names": set(example.sources),
            "attributes": {word for words in example.attributes.values() for word in words},
            "levels": set(example.levels),
        }
        for left_out, words in parts.items():
            lesson = lessons.make_lesson(rng, example, frozenset({left_out}))
            assert set(lesson.first_word) == set().union(*parts.values()) - words
            assert sum(lesson.first_word.values()) == pytest.approx(1)
        everything = lessons.make_lesson(rng, example, frozenset({"questions"})).first_word
        assert set(everything) == set().union(*parts.values())
    some = [lessons.make_example(np.random.default_rng(i), 0.5, ("bell", "wind")) for i in range(20)]
    assert {source for example in some for source in example.sources} == {"bell", "wind"}


def test_levels_have_as_many_clips_each(scripts: Any, examples: list[Any]) -> None:
    bright = [level for example in examples for level in example.levels if level.startswith("bright")]
    assert sorted(np.unique(bright, return_counts=True)[1]) == [5] * 8
    quiet = scripts["lessons"].measure(np.sin(np.arange(16000) * 0.05))
    shrill = scripts["lessons"].measure(np.sin(np.arange(16000) * 2.0))
    assert shrill[0] > quiet[0]


def test_every_word_is_one_token_and_answers_are_asked_for_where_questions_end(
    scripts: Any, examples: list[Any]
) -> None:
    tokenizer = scripts["model"].train_tokenizer(scripts["lessons"].list_tokenizer_texts(), 2048)
    for word in scripts["lessons"].list_answer_words():
        assert [len(tokenizer(form)["input_ids"]) for form in (word, " " + word)] == [1, 1]
    batches = scripts["batches"].BatchBuilder(tokenizer, lambda question: f"<|AUDIO|>{question}\n", "cpu")
    features = np.zeros((40, 128, 100), dtype=np.float16)
    batch = batches.build(np.random.default_rng(0), features, examples)
    assert (batch["ids"] == batches.audio_token).sum(dim=1).tolist() == [25] * 40
    for shares in (batch["first_word"], batch["description"]):
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(40))
    described = (batch["first_word"] > 0).sum(dim=1) > 1
    torch.testing.assert_close(batch["first_word"][described], batch["description"][described])
    for ids, labels, start, first in zip(
        batch["ids"], batch["labels"], batch["prompt_end"], batch["first_word"], strict=True
    ):
        assert first[ids[start + 1]] > 0  # the answer begins with a true word
        assert ids[start].item() == tokenizer("\n")["input_ids"][0]
        questions = labels != -100
        assert questions.nonzero()[0].item() == start + 2 and (labels[questions] == ids[questions]).all()
        assert ids[questions][-1] == tokenizer.eos_token_id


def test_positions_are_sinusoids_for_every_window(scripts: Any) -> None:
    tokenizer = scripts["model"].train_tokenizer(["a b"], 300)
    short, _ = scripts["model"].build_model(tokenizer, 2)
    scripts["model"].set_window(short, 5)
    long, _ = scripts["model"].build_model(tokenizer, 5)
    ours, theirs = (m.model.audio_tower.embed_positions.weight for m in (short, long))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ours[:, :64] ** 2 + ours[:, 64:] ** 2, torch.ones(250, 64))
    assert not ours.requires_grad


@pytest.fixture
def lesson(scripts: Any, examples: list[Any]) -> tuple[Any, dict[str, torch.Tensor]]:
    """An untrained model, and a batch of eight questions about clips of noise."""
    torch.manual_seed(0)
    tokenizer = scripts["model"].train_tokenizer(scripts["lessons"].list_tokenizer_texts(), 2048)
    trained = scripts["model"].TrainableModel(tokenizer, 1)
    scripts["model"].initialize_weights(trained)
    batches = scripts["batches"].BatchBuilder(tokenizer, lambda question: f"<|AUDIO|>{question}\n", "cpu")
    features = np.random.default_rng(0).normal(size=(8, 128, 100)).astype(np.float16)
    return trained, batches.build(np.random.default_rng(1), features, examples[:8])


def learn(trained: Any, loss: Any, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-3)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        found.append(value.item())
    return found


def test_the_first_word_is_learnt_from_the_sound(scripts: Any, lesson: tuple[Any, dict[str, torch.Tensor]]) -> None:
    trained, batch = lesson
    spoken = scripts["losses"].answer_losses
    found = learn(trained, lambda: sum(spoken(trained, batch).values()), 25)
    assert found[-1] < 0.4 * found[0]
    learnt = spoken(trained, batch)["first"].item()
    batch["features"] = batch["features"].roll(1, dims=0)  # pair each question with the sound of another clip
    assert 0 <= learnt < spoken(trained, batch)["first"].item()


def test_the_encoder_learns_alone(scripts: Any, lesson: tuple[Any, dict[str, torch.Tensor]]) -> None:
    trained, batch = lesson
    before = {name: p.detach().clone() for name, p in trained.named_parameters()}
    found = learn(trained, lambda: scripts["losses"].encoder_loss(trained, batch), 25)
    assert 0 <= found[-1] < 0.4 * found[0]
    changed = {name for name, p in trained.named_parameters() if not torch.equal(p, before[name])}
    assert changed and all(trained.is_encoder_weight(name) for name in changed)


def test_every_layer_is_trained_on_the_first_word(scripts: Any, lesson: tuple[Any, dict[str, torch.Tensor]]) -> None:
    trained, batch = lesson
    losses, model = scripts["losses"], trained.lalm
    found = losses.answer_losses(trained, batch)
    decoder, said = model.model.language_model, []
    with torch.no_grad():
        for depth in range(1, 6):
            kept, decoder.layers = decoder.layers, decoder.layers[:depth]
            out = model(
                input_ids=batch["ids"],
                attention_mask=batch["mask"],
                input_features=batch["features"],
                feature_attention_mask=torch.ones(8, 100, dtype=torch.long),
            ).logits
            decoder.layers = kept
            logits = out[torch.arange(8), batch["prompt_end"]].log_softmax(-1)
            said.append(torch.nn.functional.kl_div(logits, batch["first_word"], reduction="batchmean"))
    torch.testing.assert_close(found["each"], losses._EARLIER_LAYERS_WEIGHT * torch.stack(said).mean())


@pytest.mark.slow
def test_killed_training_resumes_and_leaves_a_checkpoint(scripts: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import train, batches; {FEW} train.main()"
    sizes = ("--hear-steps", "4", "--steps", "6", "--batch", "8", "--long-from", "0.5")
    command = [sys.executable, "-c", script, str(out), *sizes]
    first = subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith('{"step": 6'):  # at least the state of step 4 is saved
            break
    os.killpg(first.pid, signal.SIGKILL)  # with its worker processes
    first.wait()
    second = subprocess.run(command, cwd=SCRIPTS, check=True, capture_output=True, text=True)
    first_step = int(second.stdout.split("resuming from step ")[1].split()[0])
    assert first_step in (4, 6)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4, 6, *range(first_step + 2, 11, 2)]
    assert [line["window"] for line in log] == [2, 5, 2, *([2] if first_step == 4 else []), 5, 5]
    assert set(log[0]) - set(log[-1]) == set() and {"first", "each", "later", "heard"} <= set(log[-1])
    lalm = load_lalm(str(out / "model"), device="cpu")
    assert lalm.heads.shape == (6, 8, 32) and lalm.builder.window_seconds == 5
    assert zero_shot(lalm, [np.zeros(8000, dtype=np.float32)], ["bell", "wind"]).scores.shape == (1, 2)


#: Makes training fast enough for a test: few clips per job, and frequent log lines and saved states.
FEW = """
train._LEVEL_CLIPS, train._LOG_EVERY, train._SAVE_EVERY = 20, 2, 2
batches._JOB_SIZE, batches._MIN_NEW = 8, 16
if __name__ == "__main__":
   """
