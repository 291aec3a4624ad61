"""A clip for which the model raises an exception fails alone; a bug in calm or in the model stops the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from calm.extract import LALM, Clip, ClipResult, Request, collect_results, extract_to_cache, find_clips, head_vectors
from calm.extract.forward import forward_passes
from tests.conftest import noise, tone

QUESTION = "What is the sound in this audio clip?"


def raising_at(monkeypatch: pytest.MonkeyPatch, lalm: LALM, frames: int) -> list[int]:
    """Make a model raise an exception for clips with at least ``frames`` frames; return its batch sizes."""
    forward, sizes = type(lalm.model).forward, list[int]()

    def limited(self: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if int(inputs["feature_attention_mask"].sum(-1).max()) >= frames:
            raise IndexError("index out of range in self")
        return forward(self, **inputs)

    monkeypatch.setattr(type(lalm.model), "forward", limited)
    return sizes


def test_a_clip_at_which_the_model_raises_fails_alone(tiny: LALM, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = find_clips([tone(300, 0.5), tone(300, 4.0), tone(400, 0.6), tone(500, 0.7)])
    expected = collect_results(head_vectors(tiny, clips, [QUESTION] * 4))
    raising_at(monkeypatch, tiny, frames=300)
    found = collect_results(head_vectors(tiny, clips, [QUESTION] * 4))
    assert found.rows.tolist() == [0, 2, 3]
    assert [(result.row, result.reason) for result in found.failures] == [
        (1, "the model raised an error for it: index out of range in self")
    ]
    assert found.values is not None and expected.values is not None
    np.testing.assert_allclose(found.values, expected.values[[0, 2, 3]], atol=1e-4)


def test_a_model_that_raises_at_every_clip_stops_the_run(tiny: LALM, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = raising_at(monkeypatch, tiny, frames=0)
    with pytest.raises(IndexError, match="index out of range"):
        collect_results(head_vectors(tiny, find_clips([tone(300), tone(400)]), [QUESTION] * 2))
    assert len(sizes) == 2  # the batch, and the control clip


def test_a_bug_of_ours_stops_the_run(tiny: LALM, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: Any) -> None:
        exec(
            compile("raise KeyError('ours')", "prefix_cache.py", "exec"),
            {"__name__": "calm.extract.forward.prefix_cache"},
        )

    monkeypatch.setattr("calm.extract.forward.prefix_cache.PrefixCaches.get", raises)
    with pytest.raises(KeyError, match="ours"):
        collect_results(head_vectors(tiny, find_clips([tone(300)]), [QUESTION]))


def test_clips_that_the_processor_refuses_fail_alone_with_their_names(tiny: LALM, tmp_path: Path) -> None:
    questions = ["What?", "Is it <|AUDIO|>?", "\ud800", "Who?", "{", ""]
    rows = [{"audio": f"{i}.wav", "label": "a", "question": question} for i, question in enumerate(questions)]
    for i in range(len(rows)):
        soundfile.write(tmp_path / f"{i}.wav", noise(0.5, i), 16000)
    (tmp_path / "m.json").write_text(json.dumps(rows))
    clips = find_clips(tmp_path / "m.json")
    clips = [*clips, Clip((noise(0.5), 0), "no rate"), Clip((noise(0.5), -1), "below none")]
    report = extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny)
    assert report.done == 5
    assert set(report.failures) == {"1.wav", "no rate", "below none"}
    assert "<|AUDIO|>" in report.failures["1.wav"]


def test_results_are_put_into_the_order_of_the_clips() -> None:
    batches = [[ClipResult(3, np.ones(2)), ClipResult(0, np.zeros(2))], [ClipResult(2, reason="no")], []]
    found = collect_results([*batches, [ClipResult(1, np.full(2, 5.0))]], convert=lambda values: values.sum(axis=1))
    assert found.rows.tolist() == [0, 1, 3] and found.values is not None
    assert found.values.tolist() == [0, 10, 2]
    assert [result.row for result in found.failures] == [2]
    assert collect_results([]).values is None


def test_what_went_through_before_a_bug_is_kept(tiny: LALM, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: Any, batch: Any, *__: Any) -> Any:
        if batch.rows == [1]:
            exec(
                compile("raise KeyError('ours')", "prefix_cache.py", "exec"),
                {"__name__": "calm.extract.forward.forward_passes"},
            )
        return original(_, batch, *__)

    original = forward_passes._run_batch_or_parts
    monkeypatch.setattr(forward_passes, "_run_batch_or_parts", raises)
    results = head_vectors(tiny, find_clips([tone(300, 0.6), tone(400, 0.5)]), [QUESTION] * 2, batch_size=1)
    assert [result.row for result in next(results)] == [0]
    with pytest.raises(KeyError, match="ours"):
        next(results)


def test_out_of_memory_is_recognized_by_its_message(
    tiny: LALM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clips, forward = find_clips([tone(300, 0.5), tone(300, 4.0), tone(400, 0.6)]), type(tiny.model).forward

    def limited(self: Any, **inputs: Any) -> Any:
        if int(inputs["feature_attention_mask"].sum(-1).max()) >= 300:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return forward(self, **inputs)

    with monkeypatch.context() as patch:
        patch.setattr(type(tiny.model), "forward", limited)
        report = extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny)
    assert list(report.failures.values()) == ["out of memory on cpu, even alone"]
    assert extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny).new == 1


def test_as_many_texts_as_clips_are_wanted(tiny: LALM) -> None:
    with pytest.raises(ValueError, match="2 clips, but 1 texts: give one text per clip"):
        head_vectors(tiny, find_clips([tone(300), tone(400)]), [QUESTION])
