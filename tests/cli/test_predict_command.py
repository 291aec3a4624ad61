"""``calm predict``: labels of files, folders and caches, in the terminal and in files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from calm import HeadCache, load
from tests.cli.commands import calm, extract
from tests.conftest import tone

Maker = Callable[..., Path]


@pytest.fixture
def data(class_folder: Maker) -> Path:
    """Make a folder of clips, their cache, and a classifier of them."""
    folder = class_folder(4)
    assert extract(folder).exit_code == calm("fit", "--shots", 2).exit_code == 0
    return folder


def test_labels_that_the_data_name_are_shown_with_the_accuracy(data: Path) -> None:
    (data / "low/3.wav").rename(data / "high/mislabelled.wav")
    printed = calm("predict", data).stdout
    header, *rows = [line.split() for line in printed.splitlines()]
    assert header == ["clip", "label", "truth", "probability", "runners-up"]
    assert [row[:3] for row in rows[4:6]] == [
        [f"{data}/high/mislabelled.wav", "low", "high"],
        [f"{data}/low/0.wav", "low", "low"],
    ]
    assert "accuracy 87.5 % (7 of 8 labelled clips)" in printed


def test_folders_that_are_no_class_are_no_truth(data: Path) -> None:
    (data / "high").rename(data / "inbox")
    printed = [json.loads(line) for line in calm("predict", data, "--json").stdout.splitlines()]
    assert [row.get("truth") for row in printed] == [None] * 4 + ["low"] * 4
    single = calm("predict", data / "inbox/0.wav").stdout
    assert "truth" not in single and "accuracy" not in single


def test_a_cache_is_predicted_without_its_model_as_the_classifier_does(data: Path) -> None:
    classifier = load("calm.safetensors")
    with HeadCache("heads.h5") as cache:
        expected = classifier.predict_proba(cache)
        names = cache.names.tolist()
    rows = [json.loads(line) for line in calm("predict", "heads.h5", "--json").stdout.splitlines()]
    assert [row["clip"] for row in rows] == names
    assert [row["ranking"]["high"] for row in rows] == pytest.approx(expected[:, 0])
    assert [row["truth"] for row in rows] == ["high"] * 4 + ["low"] * 4
    both = calm("predict", "heads.h5", data / "low/0.wav", "--json").stdout.splitlines()
    assert len(both) == 9


def test_clips_of_a_cache_that_failed_are_counted(data: Path) -> None:
    assert "no head vectors" not in calm("predict", "heads.h5").stderr
    (data / "low/broken.wav").write_text("not audio")
    extract(data)
    result = calm("predict", "heads.h5", "--out", "predictions.csv")
    assert "wrote predictions.csv: 8 clips" in result.stdout
    assert "warning: 1 of 9 clips of heads.h5 have no head vectors (failed or not extracted yet)\n" in result.stderr


def test_a_cache_without_head_vectors_has_nothing_to_predict_or_explain(data: Path) -> None:
    for file in data.glob("*/*.wav"):
        file.write_text("not audio")
    extract(data, "--out", "failed.h5")
    result = calm("predict", "failed.h5")
    assert result.exit_code == 1 and "8 of 8 clips of failed.h5 have no head vectors" in result.stderr
    assert result.stdout == ""
    result = calm("explain", "failed.h5")
    assert result.exit_code == 1 and "no clip of failed.h5 has head vectors" in result.stderr


def test_long_labels_are_shortened_in_the_summary(class_folder: Maker) -> None:
    folder = class_folder(3)
    (folder / "low").rename(folder / ("low" * 80))
    assert extract(folder).exit_code == calm("fit").exit_code == 0
    labels = calm("predict", folder, "--out", "predictions.csv").stdout.splitlines()[0]
    assert labels.startswith("labels: ") and "…" in labels and len(labels) < 100


def test_a_cache_of_another_extraction_is_refused(data: Path) -> None:
    extract(data, "--question", "Who speaks?", "--out", "other.h5")
    result = calm("predict", "other.h5")
    assert result.exit_code == 1 and "cannot be mixed" in result.stderr


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_has_every_probability_and_the_failed_clips(data: Path, suffix: str, separator: str) -> None:
    Path('a, "b".wav').write_text("not audio")
    result = calm("predict", data, 'a, "b".wav', "--out", f"predictions{suffix}")
    assert result.exit_code == 3
    assert "labels: high 4, low 4\naccuracy 100.0 % (8 of 8" in result.stdout
    assert f"wrote predictions{suffix}: 9 clips\n" in result.stdout
    frame = pd.read_csv(f"predictions{suffix}", sep=separator)
    assert [*frame.columns] == [
        *("clip", "label", "probability", "truth", "typicality", "notes", "error"),
        *("probability of high", "probability of low"),
    ]
    done = frame[frame.error.isna()]
    by_class = done[["probability of high", "probability of low"]]
    np.testing.assert_allclose(by_class.sum(axis=1), 1, atol=1e-5)
    assert (by_class.max(axis=1) == done.probability).all()
    assert frame["clip"].iloc[-1] == 'a, "b".wav' and "not readable" in frame.error.iloc[-1]


def test_json_lines_hold_what_the_json_output_holds(data: Path) -> None:
    printed = calm("predict", data, "--out", "predictions.jsonl", "--json").stdout.splitlines()
    written = Path("predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == [json.loads(line) for line in printed]


def test_only_files_of_predictions_are_replaced(data: Path) -> None:
    for _ in range(2):  # the second run replaces what the first run wrote
        assert calm("predict", data / "low/0.wav", "--out", "predictions.csv").exit_code == 0
    manifest = "path,label\na.wav,dog\n"
    Path("manifest.csv").write_text(manifest)
    result = calm("predict", data / "low/0.wav", "--out", "manifest.csv")
    assert result.exit_code == 1 and "does not contain predictions" in result.stderr
    assert Path("manifest.csv").read_text() == manifest
    assert calm("predict", data / "low/0.wav", "--out", "predictions.xlsx").exit_code == 2
    assert "does not exist" in calm("predict", data / "low/0.wav", "--out", "nowhere/predictions.csv").stderr


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_predictions_of_any_kind_are_replaced(data: Path, suffix: str) -> None:
    Path("broken.wav").write_text("not audio")
    for clip in (data / "low/0.wav", "broken.wav", data / "high/0.wav"):
        assert calm("predict", clip, "--out", f"predictions{suffix}").exit_code == (1 if clip == "broken.wav" else 0)
        assert str(clip) in Path(f"predictions{suffix}").read_text()


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("manifest.csv", "clip,label,fold\n{clip},low,1\n"),
        ("manifest.csv", "clip,label\n{clip},low\n"),
        ("manifest.tsv", "clip\tlabel\tprobability\n{clip}\tlow\t1\n"),
        ("manifest.jsonl", '{{"clip": "{clip}", "label": "low"}}\n'),
        ("manifest.jsonl", '{{"clip": "{clip}"}}\n'),
        ("manifest.jsonl", '["clip", "ranking"]\n'),
        ("manifest.jsonl", "\xff\n"),
    ],
)
def test_a_manifest_is_never_replaced_by_its_predictions(data: Path, name: str, manifest: str) -> None:
    Path(name).write_text(content := manifest.format(clip=data / "low/0.wav"), encoding="latin-1")
    result = calm("predict", data / "low/0.wav", "--out", name)
    assert result.exit_code == 1 and "does not contain predictions" in result.stderr
    assert Path(name).read_text(encoding="latin-1") == content


def test_a_rejected_clip_has_no_label_in_the_file(data: Path) -> None:
    calm("predict", data / "low/0.wav", "--reject", 1, "--out", "predictions.csv")
    with Path("predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["label"] == "" and float(row["probability"]) > 0.5


def test_clips_that_are_cut_truncated_tiny_or_silent_are_noted(data: Path) -> None:
    soundfile.write("silence.wav", np.zeros(16000), 16000)
    soundfile.write("one sample.wav", np.full(1, 0.5), 16000)
    soundfile.write("long.wav", tone(500, seconds=12), 16000)
    soundfile.write("truncated.wav", tone(500, seconds=4), 16000)
    Path("truncated.wav").write_bytes(Path("truncated.wav").read_bytes()[:32044])
    files = ["silence.wav", "one sample.wav", "long.wav", "truncated.wav", data / "low/0.wav"]
    rows = [json.loads(line) for line in calm("predict", *files, "--json").stdout.splitlines()]
    assert [row["notes"] for row in rows] == [
        ["digital silence"],
        ["only 0.06 ms long, padded to 0.1 s"],
        ["cut to the first 5 s of 12.0 s"],
        ["truncated: the file ends after 1.0 s of 4.0 s"],
        [],
    ]
    printed = calm("predict", *files).stdout
    assert printed.splitlines()[0].endswith("notes") and "cut to the first 5 s of 12.0 s\n" in printed
    assert "notes" not in calm("predict", data / "low/0.wav").stdout
    calm("predict", "long.wav", "--out", "predictions.csv")
    assert pd.read_csv("predictions.csv")["notes"].tolist() == ["cut to the first 5 s of 12.0 s"]


def test_notes_of_a_cache_are_those_of_its_files(data: Path) -> None:
    soundfile.write(data / "low/silence.wav", np.zeros(16000), 16000)
    extract(data)
    rows = [json.loads(line) for line in calm("predict", "heads.h5", "--json").stdout.splitlines()]
    assert {row["clip"]: row["notes"] for row in rows if row["notes"]} == {"low/silence.wav": ["digital silence"]}


def test_a_classifier_from_a_pipeline_predicts_on_audio(class_folder: Maker) -> None:
    from sklearn.pipeline import make_pipeline

    from calm import CALMClassifier, HeadExtractor

    files = sorted(class_folder(3).glob("*/*.wav"))
    pipe = make_pipeline(HeadExtractor("tiny", device="cpu"), CALMClassifier())
    pipe.fit(files, [file.parent.name for file in files])[-1].save("calm.safetensors")
    soundfile.write("new.wav", tone(2900, seed=99), 16000)
    assert json.loads(calm("predict", "new.wav", "--json").stdout)["label"] == "high"
