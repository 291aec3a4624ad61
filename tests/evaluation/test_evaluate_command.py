"""``calm evaluate`` compares labels as text, and counts the clips that it leaves out by reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from calm import CALMClassifier
from calm.cli import app
from tests.evaluation.test_duplicates import cache_of_contents
from tests.tasks import task


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments])


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fit_on(labels: Any, support: int = 12) -> None:
    """Fit on the first clips of a cache of 24 clips; the classifier gets other labels than the cache."""
    _, names = task(24)
    numbers = np.unique(names, return_inverse=True)[1]
    with cache_of_contents(Path("heads.h5"), numbers.astype(str), range(24)) as cache:
        CALMClassifier().fit(cache[:support], np.asarray(labels)[numbers[:support]]).save("calm.safetensors")


def test_numbers_are_compared_with_a_caches_labels_as_text() -> None:
    fit_on([0, 1, 2])
    result = evaluate()
    assert result.exit_code == 0 and result.stderr == ""
    assert "accuracy 100.0 % (12 of 12)" in result.stdout


def test_only_what_is_not_known_is_warned_of() -> None:
    fit_on([0, 1, 7])
    result = evaluate()
    assert result.stderr == ("warning: labels without a class in calm.safetensors: 2 (their clips count as errors)\n")
    assert "(8 of 12)" in result.stdout


def test_labels_that_have_nothing_in_common_are_an_error() -> None:
    fit_on(["a", "b", "c"])
    result = evaluate()
    assert result.exit_code == 1
    assert result.stderr == (
        "error: no label in heads.h5 is a class of calm.safetensors: the labels are 0, 1, 2, the classes are a, b, c\n"
    )


def test_clips_that_are_left_out_are_printed_with_their_reasons() -> None:
    y = np.array(["dog", "rain", "dog", "rain", "dog", "rain", "", "rain"])
    splits = ["train", "train", "train", "test", "test", "test", "test", "train"]
    groups = ["a", "", "", "a", "b", "c", "d", ""]
    with cache_of_contents(Path("heads.h5"), y, range(8), groups, splits) as cache:
        CALMClassifier().fit(cache[:2], cache[:2].labels).save("calm.safetensors")
    assert (
        "calm.safetensors on 2 clips of heads.h5; 6 clips left out: 2 in the support set, 1 in its groups, "
        "2 in other splits, 1 without a label\n"
    ) in evaluate().stdout
    output = json.loads(evaluate("--json").stdout)
    assert output["left_out"] == 6
    assert output["left_out_because"] == {"support": 2, "groups": 1, "splits": 2, "unlabelled": 1}
    assert "on 7 clips of heads.h5; 1 clip left out: 1 without a label\n" in evaluate("--all").stdout
