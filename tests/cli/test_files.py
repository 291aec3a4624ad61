"""Errors of the commands about missing files, files of the wrong kind, and output paths that cannot be written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

import calm.classifiers.file as classifier_file
from tests.cli.commands import calm, extract, fails
from tests.conftest import tone

Maker = Callable[..., Path]


@pytest.mark.parametrize(
    ("command", "missing", "first"),
    [
        (("fit",), "heads.h5", "calm extract"),
        (("info",), "heads.h5", "calm extract"),
        (("evaluate",), "calm.safetensors", "calm fit"),
        (("predict", "clip.wav"), "calm.safetensors", "calm fit"),
    ],
)
def test_a_missing_file_names_the_command_to_run_first(command: tuple[str, ...], missing: str, first: str) -> None:
    fails(calm(*command), f"no such file: {missing} \\(run {first} first\\)\n")


def test_a_missing_file_with_another_name_suggests_no_command(class_folder: Maker) -> None:
    assert calm("fit", "mine.h5").stderr == "error: no such file: mine.h5\n"
    assert calm("predict", "a.wav", "-c", "my.safetensors").stderr == "error: no such file: my.safetensors\n"


def test_evaluating_with_a_classifier_and_no_cache_asks_for_an_extraction(class_folder: Maker) -> None:
    extract(class_folder(2))
    calm("fit")
    Path("heads.h5").unlink()
    fails(calm("evaluate"), "no such file: heads.h5 \\(run calm extract first\\)")


def test_a_file_of_another_kind_is_named(class_folder: Maker) -> None:
    extract(class_folder(2))
    calm("fit")
    soundfile.write("a.ogg", tone(300), 16000)
    for file in ("a.ogg", "empty"):
        Path(file).touch()
        fails(calm("info", file), f"{file} is neither a head cache nor a fitted classifier\n")
    for wrong in (("predict", "a.ogg"), ("evaluate",)):
        fails(calm(*wrong, "-c", "heads.h5"), "heads.h5 is a head cache: -c needs a fitted classifier")
    for command in ("fit", "evaluate"):
        fails(
            calm(command, "calm.safetensors"),
            "calm.safetensors is a fitted classifier: this command needs",
        )


def test_info_lists_the_options_of_a_request(class_folder: Maker) -> None:
    extract(class_folder(2), "--question", "Which pitch?")
    calm("fit")
    request = json.loads(calm("info", "--json").stdout)["request"]
    assert request["question"] == "Which pitch?" and request["modality"] == "audio" and request["tokens"] == 1
    assert not {"prompt", "media_options", "placement", "device"} & request.keys()
    fitted = json.loads(calm("info", "calm.safetensors", "--json").stdout)
    assert fitted["request"] == request | {"dtype": "float32"} and fitted["fingerprint"]["dtype"] == "float32"


def never(*_: object, **__: object) -> None:
    raise AssertionError("the work was begun")


def test_an_unwritable_classifier_path_is_reported_before_the_fit(
    class_folder: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from calm import CALMClassifier

    extract(class_folder(3))
    monkeypatch.setattr(CALMClassifier, "fit", never)
    fails(calm("fit", "-o", "heads.h5"), "heads.h5 exists and is not a saved classifier, so it is not replaced")
    fails(calm("fit", "-o", "nowhere/a.safetensors"), "cannot write a.safetensors: folder nowhere does not exist")
    fails(calm("fit", "-o", "data"), "data is a folder: give the name of a file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission_is_reported(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="cannot write into .*shut: Permission denied"):
        classifier_file.check_writable(tmp_path / "shut/calm.safetensors")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder that even root cannot write to")
def test_a_system_folder_that_takes_no_files_is_reported() -> None:
    with pytest.raises(OSError, match="cannot write into /proc/self"):
        classifier_file.check_writable(Path("/proc/self/calm.safetensors"))


def test_checking_a_target_leaves_nothing_behind(tmp_path: Path) -> None:
    classifier_file.check_writable(tmp_path / "calm.safetensors")
    assert not [*tmp_path.iterdir()]


def test_a_classifier_that_cannot_reject_is_refused_before_the_model_runs(
    class_folder: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(class_folder(3))
    calm("fit", "--method", "sav", "--no-compare")
    from calm.extract import Request

    monkeypatch.setattr(Request, "load", never)
    fails(calm("predict", "data/low/0.wav", "--reject", 0.1), "calm.safetensors does not support --reject: only CALM")


def test_clips_that_have_gone_are_said_to_need_prune(class_folder: Maker) -> None:
    data = class_folder(2)
    extract(data)
    (data / "low/0.wav").unlink()
    fails(extract(data), "1 of the 4 clips in heads.h5 are missing .*: run again with --prune .* to drop them")
    assert extract(data, "--prune").exit_code == 0


def test_the_output_says_which_failed_clips_are_tried_again(class_folder: Maker) -> None:
    data = class_folder(2)
    (data / "low/bad.wav").write_text("no audio")
    rows = [{"audio": f"low/{name}.wav", "label": "low"} for name in ("0", "1", "bad")]
    rows += [{"audio": f"high/{i}.wav", "label": "high"} for i in range(2)]
    rows[1]["question"] = (
        "<|AUDIO|> and <|AUDIO|>?"  # the audio token of the model: the clip is read, but the prompt is invalid
    )
    (data / "list.json").write_text(json.dumps(rows))
    first = extract(data / "list.json")
    assert first.exit_code == 3
    assert "1 clip could not be read: repair it and run the same command again\n" in first.stderr
    assert "1 clip was read but failed later: it is tried again only if its file or question changes\n" in first.stderr
    output = json.loads(extract(data / "list.json", "--json").stdout)
    assert (output["failed"], output["unread"], output["new"]) == (2, 1, 0)
