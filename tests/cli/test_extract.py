"""``calm extract``: notes on clips, parts of a data set, values that cannot be, and exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calm import HeadCache
from tests.cli.commands import calm, extract
from tests.conftest import noise, tone

Maker = Callable[..., Path]


def write_manifest(data: Path, groups: bool = True) -> Path:
    """Write a manifest of six clips per class in two splits, with two groups each."""
    rows = [
        {"audio": f"{label}/{i}.wav", "label": label, "split": "train" if i < 4 else "test"}
        | ({"group": f"{i // 2}"} if groups else {})
        for label in ("high", "low")
        for i in range(6)
    ]
    (data / "list.json").write_text(json.dumps(rows))
    return data / "list.json"


def test_unusual_clips_are_listed_by_extract_and_info(class_folder: Maker) -> None:
    data = class_folder(1)
    soundfile.write(data / "low/long.wav", noise(7), 16000)
    soundfile.write(data / "low/one.wav", np.ones(1) / 2, 16000)
    soundfile.write(data / "low/silent.wav", np.zeros(16000), 16000)
    content = (data / "low/long.wav").read_bytes()
    (data / "low/short.wav").write_bytes(content[: len(content) // 7])
    lines = [
        "note: low/one.wav: only 0.06 ms long, padded to 0.1 s",
        "note: low/short.wav: truncated: the file ends after 1.0 s of 7.0 s",
        "note: low/silent.wav: digital silence",
        "note: low/long.wav: cut to the first 5 s of 7.0 s",
    ]
    for result in (extract(data), extract(data), calm("info")):
        assert [line for line in result.stderr.splitlines() if line.startswith("note: low")] == sorted(
            lines, key=lambda line: ": cut" in line
        )
    for printed in (extract(data, "--json"), calm("info", "--json")):
        assert json.loads(printed.stdout)["notes"]["low/silent.wav"] == ["digital silence"] and printed.stderr == ""


def test_only_the_first_ten_notes_are_listed(class_folder: Maker) -> None:
    data = class_folder(1)
    for i in range(12):
        soundfile.write(data / f"low/silent{i:02}.wav", np.zeros(1600), 16000)
    errors = extract(data).stderr
    assert errors.count("digital silence\n") == 10 and "\n… and 2 more\n" in errors
    assert len(json.loads(extract(data, "--json").stdout)["notes"]) == 12


def test_a_limit_takes_clips_of_each_class_split_and_group_and_is_extended_later(class_folder: Maker) -> None:
    manifest = write_manifest(class_folder(6))
    assert "list.json: 8 clips, 2 classes, 3 groups, train 4, test 4" in extract(manifest, "--limit", 2).stdout
    with HeadCache("heads.h5") as cache:
        assert cache.names.tolist() == [f"{c}/{i}.wav" for c in ("high", "low") for i in (0, 2, 4, 5)]
    assert "head vectors of 12 of 12 clips, 8 of them from an earlier run" in extract(manifest).stdout
    refused = extract(manifest, "--limit", 2)
    assert refused.exit_code == 1 and "4 of the 12 clips in heads.h5 are missing" in refused.stderr


def test_one_split_is_extracted(class_folder: Maker) -> None:
    manifest = write_manifest(class_folder(6))
    assert "list.json: 4 clips, 2 classes, 1 group, test 4" in extract(manifest, "--split", "test").stdout
    assert "head vectors of 12 of 12 clips, 4 of them from an earlier run" in extract(manifest).stdout
    refused = extract(manifest, "--split", "dev")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: no clip has the split 'dev': the splits are train, test\n",
    )


def test_clips_without_groups_are_pointed_out_once(class_folder: Maker) -> None:
    data = class_folder(2)
    assert extract(data).stderr.count("note: the clips have no groups") == 1
    assert "no groups" not in extract(data, "--json").stderr
    assert "no groups" not in extract(write_manifest(class_folder(6, name="six")), "-o", "six.h5").stderr
    soundfile.write("one.wav", tone(300), 16000)
    assert "no groups" not in extract(Path("one.wav"), "-o", "one.h5").stderr


def test_exit_codes_tell_no_clip_from_some_clips(class_folder: Maker) -> None:
    data = class_folder(1)
    for path in data.glob("*/*.wav"):
        path.write_text("no sound")
    assert extract(data).exit_code == 1
    soundfile.write(data / "low/0.wav", tone(300), 16000)
    assert extract(data).exit_code == 3
    soundfile.write(data / "high/0.wav", tone(3000), 16000)
    assert extract(data).exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "0"),
        ("--tokens", "0"),
        ("--max-seconds", "nan"),
        ("--max-seconds", "0"),
        ("--fps", "2"),  # has no meaning without video
        ("--template", "{nothing}"),
        ("--storage", "float8"),
    ],
)
def test_a_wrong_option_value_is_a_wrong_command_line(class_folder: Maker, options: tuple[str, ...]) -> None:
    result = extract(class_folder(1), *options)
    assert result.exit_code == 2 and "Usage" in result.stderr and not Path("heads.h5").exists()


def test_more_tokens_than_the_prompt_has_are_refused(class_folder: Maker) -> None:
    data = class_folder(1)
    refused = extract(data, "--tokens", 5000)
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: tokens=5000, but a prompt with a clip of 5 s has only 160 tokens: choose fewer\n",
    )
    assert not Path("heads.h5").exists()
    assert extract(data, "--tokens", 160).exit_code == 0


def test_a_question_that_cannot_be_used_fails_its_clip_and_not_the_check_of_tokens(class_folder: Maker) -> None:
    data = class_folder(1)
    rows = [{"audio": "low/0.wav", "label": "low", "question": "<|AUDIO|> and what else is there to be heard?"}]
    rows.append({"audio": "high/0.wav", "label": "high"})
    (data / "list.json").write_text(json.dumps(rows))
    assert extract(data / "list.json", "--tokens", 4).exit_code == 3


def test_a_length_beyond_the_window_is_warned_of(class_folder: Maker) -> None:
    warning = "warning: max_seconds=100 is more than the model takes: clips are cut to the first 5 s\n"
    assert warning in extract(class_folder(1), "--max-seconds", 100).stderr
    assert "max_seconds" not in extract(class_folder(1), "--max-seconds", 2, "-o", "2.h5").stderr


def test_an_empty_file_is_written_into(class_folder: Maker) -> None:
    Path("empty.h5").touch()
    assert "empty.h5: head vectors of 2 of 2 clips" in extract(class_folder(1), "-o", "empty.h5").stdout


def test_info_counts_one_clip_and_small_sizes_and_shortens_labels(class_folder: Maker) -> None:
    label = "a" * 100 + "z" * 100
    extract(class_folder(1, classes=("b", label)))
    printed = calm("info").stdout
    assert re.search(r" \(2 done\), \d\d\.\d kB$", printed.split("\n")[0])
    assert label not in printed and "aaa…zzz" in printed
    assert label in json.loads(calm("info", "--json").stdout)["labels"]
    calm("fit", "--no-compare")
    fitted = calm("info", "calm.safetensors").stdout
    assert "b (1 clip)" in fitted and "(1 clips)" not in fitted and label not in fitted


def test_heads_without_weight_are_not_among_the_best(class_folder: Maker) -> None:
    extract(class_folder(3))
    calm("fit", "--top-heads", 2, "--no-compare")
    (weights,) = (line for line in calm("info", "calm.safetensors").stdout.splitlines() if line.startswith("weights"))
    assert weights.count("layer") == 2 and "(0.0 %)" not in weights
