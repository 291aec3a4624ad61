"""``calm evaluate`` compares labels as text, and counts the clips that it leaves out by reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from calm import CALMClassifier, HeadCache
from calm.cli import app
from calm.extract import Clip, Request, create_cache
from tests.evaluation.test_duplicates import FINGERPRINT, cache_of_contents
from tests.tasks import task, write_all


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


def fit_with_mistakes() -> list[tuple[str, str]]:
    """Fit on a cache in which some labels of the other clips are wrong; return names and labels of those clips."""
    _, y = task(24)
    wrong = y.copy()
    wrong[[14, 20]], wrong[17] = "dog", "rain"
    with cache_of_contents(Path("heads.h5"), np.concatenate([y[:12], wrong[12:]]), range(24)) as cache:
        CALMClassifier().fit(cache[:12], cache[:12].labels).save("calm.safetensors")
    return [(f"{i}.wav", wrong[i]) for i in range(12, 24)]


def test_mistakes_and_the_confusion_matrix_are_printed() -> None:
    fit_with_mistakes()
    lines = evaluate().stdout.splitlines()
    start = lines.index(
        "confusion matrix, clips by true class (rows) and predicted class (columns, numbered as the rows):"
    )
    assert [line.split() for line in lines[start + 1 : start + 5]] == [
        ["1", "2", "3"],
        ["1", "dog", "4", "·", "2"],
        ["2", "rain", "·", "4", "1"],
        ["3", "rooster", "·", "·", "1"],
    ]
    assert lines[start + 5] == "3 mistakes, most confident first:"
    assert lines[start + 6].split() == ["clip", "label", "truth", "probability"]
    rows = [line.split() for line in lines[start + 7 :]]
    assert {(row[0], row[1], row[2]) for row in rows} == {
        ("14.wav", "rooster", "dog"),
        ("20.wav", "rooster", "dog"),
        ("17.wav", "rooster", "rain"),
    }
    probabilities = [float(row[3]) for row in rows]
    assert probabilities == sorted(probabilities, reverse=True)


def test_json_has_all_mistakes_and_the_confusion_matrix() -> None:
    clips = dict(fit_with_mistakes())
    output = json.loads(evaluate("--json").stdout)
    assert output["confusion_matrix"] == {
        "labels": ["dog", "rain", "rooster"],
        "matrix": [[4, 0, 2], [0, 4, 1], [0, 0, 1]],
    }
    assert output["rejected"] == 0 and output["correct"] == 9
    assert len(output["mistakes"]) == 3
    for mistake in output["mistakes"]:
        assert clips[mistake["clip"]] == mistake["truth"] != mistake["label"] and 1 / 3 < mistake["probability"] <= 1


def test_without_mistakes_neither_is_printed() -> None:
    fit_on(["a", "b", "c"])
    _, names = task(24)
    numbers = np.unique(names, return_inverse=True)[1]
    Path("heads.h5").unlink()
    cache_of_contents(Path("heads.h5"), np.array(["a", "b", "c"])[numbers], range(24)).close()
    output = evaluate().stdout
    assert "accuracy 100.0 %" in output and "mistake" not in output and "confusion matrix" not in output


def test_predictions_are_written_to_a_csv_file_and_never_over_another_kind_of_file() -> None:
    clips = fit_with_mistakes()
    assert "wrote predictions.csv" in evaluate("--out", "predictions.csv").stdout
    frame = pd.read_csv("predictions.csv")
    assert list(zip(frame["clip"], frame["truth"], strict=True)) == clips
    assert (frame["label"] == frame["truth"]).sum() == 9
    by_class = frame[[f"probability of {label}" for label in ("dog", "rain", "rooster")]]
    assert (by_class.max(axis=1) == frame["probability"]).all()
    before = Path("heads.h5").read_bytes()
    refused = evaluate("--out", "heads.h5")
    assert refused.exit_code == 2 and "predictions are written" in refused.stderr
    assert Path("heads.h5").read_bytes() == before


def test_only_the_first_twenty_mistakes_are_printed() -> None:
    X, y = task(90)
    shifted = np.concatenate([y[:30], np.roll(y[30:], 1)])
    path = Path("heads.h5")
    clips = [Clip("", f"{i}.wav", label) for i, label in enumerate(shifted)]
    create_cache(path, clips, ["Hm?"] * 90, (3, 2, 8), Request("tiny"), FINGERPRINT)
    write_all(path, X.reshape(90, 3, 2, 8), [str(i).encode() for i in range(90)])
    with HeadCache(path) as cache:
        CALMClassifier().fit(cache[:30], y[:30]).save("calm.safetensors")
    output = evaluate().stdout
    assert "mistakes, most confident first (the first 20; --out or --json gives all):" in output
    assert len(output[output.index("mistakes, most") :].splitlines()) == 22


@pytest.mark.parametrize("content", ["clip,label\na.wav,dog\n", "clip,label,probability,truth,note\n"])
def test_only_files_of_predictions_are_replaced(content: str) -> None:
    fit_on([0, 1, 2])
    for _ in range(2):  # the second run replaces what the first run wrote
        assert evaluate("--out", "predictions.csv").exit_code == 0
    Path("manifest.csv").write_text(content)
    result = evaluate("--out", "manifest.csv")
    assert result.exit_code == 1 and "manifest.csv exists and does not contain predictions" in result.stderr
    assert Path("manifest.csv").read_text() == content
    assert "does not exist" in evaluate("--out", "nowhere/predictions.csv").stderr
