"""``calm zero-shot``: labels by the likelihood of the model's answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from calm import find_clips, zero_shot
from calm.extract import LALM
from tests.cli.commands import calm

MODEL = ("--model", "tiny", "--device", "cpu")


def test_scores_are_those_of_the_python_function(class_folder: Callable[..., Path], tiny: LALM) -> None:
    data = class_folder(2)
    expected = zero_shot(tiny, find_clips(data), ["high", "low"])
    rows = [json.loads(line) for line in calm("zero-shot", data, *MODEL, "--json").stdout.splitlines()]
    assert [row["ranking"]["low"] for row in rows] == pytest.approx(expected.scores[:, 1], abs=1e-4)
    assert [row["truth"] for row in rows] == ["high", "high", "low", "low"]
    assert [row["label"] for row in rows] == expected.labels.tolist()


def test_labels_question_and_template_are_taken(class_folder: Callable[..., Path], tiny: LALM) -> None:
    data = class_folder(1)
    labels = ["a bell", "rain"]
    expected = zero_shot(tiny, find_clips(data), labels, question="What rings?", template="{question}")
    options = [*MODEL, "--question", "What rings?", "--template", "{question}", "--label", "a bell", "-l", "rain"]
    assert calm("zero-shot", data, *options, "--out", "scores.csv").exit_code == 0
    frame = pd.read_csv("scores.csv")
    assert frame["log-likelihood of rain"].tolist() == pytest.approx(expected.scores[:, 1], abs=1e-4)
    assert frame["truth"].isna().all()
    printed = calm("zero-shot", data, *options).stdout.splitlines()
    assert printed[0].split() == ["clip", "label", "log-likelihood", "runners-up"] and len(printed) == 3


def test_two_labels_are_needed(class_folder: Callable[..., Path]) -> None:
    data = class_folder(1)
    result = calm("zero-shot", data / "high/0.wav", *MODEL)
    assert result.exit_code == 2 and "at least two labels are needed" in result.stderr
    assert calm("zero-shot", data, *MODEL, "--label", "rain").exit_code == 2


def test_bad_clips_are_named_and_set_the_exit_code(class_folder: Callable[..., Path]) -> None:
    data = class_folder(1)
    (data / "low/bad.wav").touch()
    result = calm("zero-shot", data, *MODEL)
    assert result.exit_code == 3 and f"failed: {data}/low/bad.wav: not readable as audio" in result.stderr
    assert calm("zero-shot", data / "low/bad.wav", *MODEL, "-l", "a", "-l", "b").exit_code == 1
