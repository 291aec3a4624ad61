"""``calm explain``: which heads decided the label of a clip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm import HeadCache, load
from tests.cli.commands import calm, extract


@pytest.fixture
def data(class_folder: Callable[..., Path]) -> Path:
    folder = class_folder(3)
    assert extract(folder, "--storage", "float32").exit_code == calm("fit", "--shots", 2).exit_code == 0
    return folder


def test_the_heads_are_those_of_the_classifiers_explanation(data: Path) -> None:
    with HeadCache("heads.h5") as cache:
        explanation = load("calm.safetensors").explain(cache)
    facts = [json.loads(line) for line in calm("explain", "heads.h5", "--json", "--heads", 48).stdout.splitlines()]
    assert [fact["label"] for fact in facts] == explanation.labels.tolist()
    for i, fact in enumerate(facts):
        assert [head["head"] for head in fact["top_heads"]] == [name for name, *_ in explanation.top_heads(i, 48)]
        assert sum(abs(head["importance"]) for head in fact["top_heads"]) == pytest.approx(1)


def test_audio_is_explained_as_its_cached_vectors_are(data: Path) -> None:
    (of_cache,) = calm("explain", "heads.h5", "--clip", "low/0.wav", "--json").stdout.splitlines()
    (of_audio,) = calm("explain", data / "low/0.wav", "--json").stdout.splitlines()
    expected, found = json.loads(of_cache), json.loads(of_audio)
    assert found.pop("clip") == str(data / "low/0.wav") and expected.pop("clip") == "low/0.wav"
    for head, expected_head in zip(found.pop("top_heads"), expected.pop("top_heads"), strict=True):
        assert head["head"] == expected_head["head"]
        assert head["importance"] == pytest.approx(expected_head["importance"], abs=1e-3)
    assert found == expected


def test_the_text_names_the_label_the_runner_up_and_the_heads(data: Path) -> None:
    lines = calm("explain", data / "high/0.wav", "--heads", 2).stdout.splitlines()
    assert lines[0].startswith(f"{data}/high/0.wav: high, not low; ")
    assert lines[0].endswith("of 48 heads alone favour high")
    assert len(lines) == 4 and lines[2].startswith("  layer ")


def test_bad_clips_are_named_and_the_others_explained(data: Path) -> None:
    Path("bad.wav").write_text("not audio")
    result = calm("explain", "bad.wav", data / "high/0.wav")
    assert result.exit_code == 3
    assert "failed: bad.wav: not readable as audio" in result.stderr and "high, not low" in result.stdout
    result = calm("explain", "bad.wav")
    assert result.exit_code == 1 and "bad.wav: not readable as audio" in result.stderr


def test_a_silent_clip_is_noted(data: Path) -> None:
    soundfile.write("silence.wav", np.zeros(16000), 16000)
    result = calm("explain", "silence.wav", data / "high/0.wav")
    assert result.exit_code == 0 and result.stderr == "note: silence.wav: digital silence\n"


def test_a_clip_that_is_not_in_the_cache_is_refused(data: Path) -> None:
    result = calm("explain", "heads.h5", "--clip", "low/9.wav")
    assert result.exit_code == 1 and "heads.h5 has no head vectors of a clip low/9.wav" in result.stderr
    assert calm("explain", "heads.h5", data / "low/0.wav").exit_code == 2
    assert calm("explain", data / "low/0.wav", "--clip", "low/0.wav").exit_code == 2
