"""Model inputs are built without weights, and a clip that the processor refuses fails alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from calm.extract import LALM, InputError, load_input_builder
from calm.extract.models.inputs import InputBuilder
from tests.conftest import noise

QUESTION = "What is the sound in this audio clip?"


def test_a_builder_without_weights_makes_the_inputs_that_the_model_makes(tiny: LALM, tmp_path: Path) -> None:
    tiny.processor.save_pretrained(tmp_path)
    tiny.model.config.save_pretrained(tmp_path)  # without weights
    builder = load_input_builder(str(tmp_path))
    waves, chats = [noise(1.0), noise(0.4, 1)], [builder.chat(QUESTION), builder.chat("Hm?")]
    for side in ("left", "right"):
        found, expected = (b.prepare(waves, chats, padding_side=side) for b in (builder, tiny.builder))
        assert found.keys() == expected.keys()
        for name in found:
            torch.testing.assert_close(found[name], expected[name])
    assert (builder.sampling_rate, builder.window_seconds, builder.media_token_ids) == (
        16000,
        5.0,
        tiny.builder.media_token_ids,
    )
    assert builder.digest() == tiny.builder.digest()


def test_a_builder_is_sent_to_another_process(tiny: LALM, tmp_path: Path) -> None:
    """Processes that only prepare inputs unpickle it."""
    code = (
        "import pickle, sys, numpy as np; builder = pickle.load(sys.stdin.buffer); "
        "print(builder.prepare([np.zeros(8000, np.float32)], [builder.chat('Hm?')])['input_ids'].shape[1])"
    )
    import pickle

    builder = load_input_builder("tiny")
    process = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(builder), capture_output=True, check=True)
    expected = tiny.builder.prepare([np.zeros(8000, np.float32)], [tiny.builder.chat("Hm?")])["input_ids"].shape[1]
    assert int(process.stdout) == expected


def test_a_text_that_holds_the_mark_of_a_sound_is_refused(tiny: LALM) -> None:
    with pytest.raises(InputError, match=r"the question contains '<\|AUDIO\|>', the placeholder of the clip"):
        tiny.builder.chat("Is it <|AUDIO|>?")


def test_a_bad_clip_is_distinguished_from_a_processor_that_fails_for_every_clip(tiny: LALM) -> None:
    two_marks = tiny.builder.chat("Hm?").replace("<|AUDIO|>", "<|AUDIO|><|AUDIO|>")
    with pytest.raises(InputError, match="the processor refused its audio or its question: The total number"):
        tiny.builder.prepare([noise(1.0)], [two_marks])
    broken = InputBuilder("no processor", tiny.family, tiny.model.config)
    with pytest.raises(AttributeError):
        broken.prepare([noise(1.0)], ["Hm?"])


def test_a_bug_of_ours_is_no_clips_fault(tiny: LALM, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object) -> dict[str, bool]:
        exec(compile("raise IndexError('ours')", "inputs.py", "exec"), {"__name__": "calm.extract.models.inputs"})
        return {}

    monkeypatch.setattr(InputBuilder, "_special_tokens", raises)
    with pytest.raises(IndexError, match="ours"):
        tiny.builder.prepare([noise(1.0)], [tiny.builder.chat("Hm?")])


def test_a_question_that_is_too_long_fails_before_the_model_runs(tiny: LALM) -> None:
    with pytest.raises(InputError, match="the question has more than 32768 characters"):
        tiny.builder.chat("word " * 14000)
    with pytest.raises(InputError, match=r"its prompt has \d+ tokens, more than the model's context of 2048"):
        tiny.builder.prepare([noise(1.0)], [tiny.builder.chat("word " * 6000)])
