"""End-to-end tests of the commands: their output, the files they write, and their one-line errors."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from calm import HeadCache
from tests.cli.commands import calm, extract, fails
from tests.conftest import noise, tone

Maker = Callable[..., Path]


def calm_in_a_process(*args: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "calm", *map(str, args)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A process in the background of a shell ignores SIGINT, and its child processes inherit that.
    return subprocess.Popen(command, preexec_fn=_restore_ctrl_c, **pipes, **options)


def _restore_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_defaults_chain_from_a_folder_to_a_label(class_folder: Maker) -> None:
    result = extract(class_folder(6))
    assert result.exit_code == 0
    assert "12 clips, 2 classes" in result.stdout
    assert "heads.h5: head vectors of 12 of 12 clips\nnext: calm fit --shots 5\n" in result.stdout

    result = calm("fit", "--shots", 3)
    assert result.exit_code == 0
    assert "support set: 6 clips of 2 classes (3 per class, seed 0)" in result.stdout
    assert "accuracy on 6 query clips" in result.stdout
    assert re.search(r"^CALM +100\.0 % +61\.0 – 100\.0 %$", result.stdout, re.MULTILINE)
    assert re.search(r"^SAV +", result.stdout, re.MULTILINE)

    soundfile.write("new.wav", tone(2900, seed=99), 16000)
    result = calm("predict", "new.wav")
    assert re.search(r"^new\.wav +high +0\.\d{3} +low 0\.\d{3}$", result.stdout, re.MULTILINE)

    result = calm("evaluate")
    assert "calm.safetensors on 6 clips of heads.h5; 6 clips left out" in result.stdout
    assert "accuracy 100.0 % (6 of 6), 95 % confidence interval 61.0 – 100.0 %" in result.stdout
    assert re.search(r"^low +3 +100\.0 %", result.stdout, re.MULTILINE)

    assert "a head cache of 12 clips (12 done)" in calm("info").stdout
    assert "a fitted CALMClassifier" in calm("info", "calm.safetensors").stdout
    assert "Qwen/Qwen2-Audio-7B-Instruct" in calm("models").stdout


def test_every_command_can_speak_json(class_folder: Maker) -> None:
    data = class_folder(3)
    extracted = json.loads(extract(data, "--json").stdout)
    assert extracted["done"] == extracted["new"] == 6
    fitted = json.loads(calm("fit", "--shots", 1, "--json").stdout)
    assert fitted["classes"] == ["high", "low"]
    assert set(fitted["accuracy"]) == {"CALM", "CALM, published", "SAV", "linear probe"}
    lines = calm("predict", data, "--json").stdout.splitlines()
    assert [json.loads(line)["clip"] for line in lines][:2] == [f"{data}/high/0.wav", f"{data}/high/1.wav"]
    assert json.loads(calm("evaluate", "--json").stdout)["clips"] == 4
    assert json.loads(calm("info", "--json").stdout)["shape"] == [6, 6, 8, 32]
    assert json.loads(calm("info", "calm.safetensors", "--json").stdout)["classes"] == {"high": 1, "low": 1}
    assert json.loads(calm("models", "--json").stdout)["tiny-random"] == "tiny-random"


def test_extracting_again_resumes_and_says_so(class_folder: Maker) -> None:
    data = class_folder(2)
    extract(data)
    assert "head vectors of 4 of 4 clips, 4 of them from an earlier run" in extract(data).stdout


def test_bad_clips_are_listed_and_set_the_exit_code(class_folder: Maker) -> None:
    data = class_folder(2)
    (data / "low/bad.wav").write_text("not audio")
    result = extract(data)
    assert result.exit_code == 3
    assert "failed: low/bad.wav: not readable as audio" in result.stderr
    assert "1 clip could not be read: repair it and run the same command again\n" in result.stderr
    assert "failed later" not in result.stderr
    assert "head vectors of 4 of 5 clips" in result.stdout
    assert "(4 done, 1 failed)" in calm("info").stdout
    fitted = calm("fit")  # fits on the other clips
    assert fitted.exit_code == 0
    assert "warning: 1 of 5 clips of heads.h5 have no head vectors (failed or not extracted yet)\n" in fitted.stderr

    result = calm("predict", "data/low/bad.wav", "data/low/0.wav")
    assert result.exit_code == 3
    assert "low/0.wav" in result.stdout and "failed: data/low/bad.wav" in result.stderr
    assert calm("predict", "data/low/bad.wav").exit_code == 1
    result = calm("predict", "nowhere.wav", "data/low/bad.wav", "data/low/0.wav", "--json")
    printed = [json.loads(line) for line in result.stdout.splitlines()]
    assert [set(line) & {"label", "error"} for line in printed] == [{"label"}, {"error"}, {"error"}]


def test_strict_stops_at_the_first_bad_clip(class_folder: Maker) -> None:
    data = class_folder(2)
    (data / "high/bad.wav").touch()
    result = extract(data, "--strict")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: high/bad.wav: not readable as audio")


def test_long_and_silent_clips_are_warned_of(class_folder: Maker) -> None:
    data = class_folder(1)
    soundfile.write(data / "low/long.wav", np.tile(noise(30.0, rate=8000)[:, None], (20, 2)), 8000)
    soundfile.write(data / "low/silent.wav", np.zeros(16000), 16000)
    result = extract(data)
    assert result.exit_code == 0
    assert "warning: 1 clip cut to the first 5 s" in result.stderr
    assert "warning: 1 clip of digital silence (all samples are zero)" in result.stderr


@pytest.mark.parametrize(("sign", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "a cluster's")])
def test_a_stopped_extraction_says_how_to_resume(class_folder: Maker, sign: signal.Signals, name: str) -> None:
    data = class_folder(400)
    process = calm_in_a_process("extract", "--model", "tiny", "--device", "cpu", "--batch-size", "2", data)
    while not (Path("heads.h5").exists() and len(HeadCache("heads.h5").done)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(sign)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    kept = re.search(r"interrupted: (\d+) of 800 clips are in heads\.h5; run the same command again to resume", errors)
    assert kept is not None, errors
    assert "Traceback" not in errors
    with HeadCache("heads.h5") as cache:
        assert 0 < len(cache.done) == int(kept.group(1)) < 800
    assert extract(data).exit_code == 0


def test_a_second_extraction_into_the_same_cache_is_refused(class_folder: Maker) -> None:
    data = class_folder(150)
    process = calm_in_a_process("extract", "--model", "tiny", "--device", "cpu", data)
    while not (Path("heads.h5").exists() and len(HeadCache("heads.h5").done)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    second = calm_in_a_process("extract", "--model", "tiny", "--device", "cpu", data)
    _, errors = second.communicate(timeout=60)
    assert (second.returncode, errors) == (1, "error: heads.h5 is being written by another process\n")
    assert process.wait(timeout=60) == 0


def test_a_manifest_and_its_columns_are_taken(class_folder: Maker) -> None:
    data = class_folder(3)
    rows = [f"{c}/{i}.wav,{c} pitch,{s}" for c in ("low", "high") for i, s in enumerate(("train", "train", "test"))]
    (data / "list.csv").write_text("\n".join(["file,kind,part", *rows]))
    result = extract(
        data / "list.csv", "--label-column", "kind", "--split-column", "part", "--question", "Which pitch?"
    )
    assert result.exit_code == 0
    fitted = json.loads(calm("fit", "--json").stdout)
    assert (fitted["classes"], fitted["support"], fitted["query"]) == (["high pitch", "low pitch"], 4, 2)
    printed = calm("info").stdout
    assert "train (4), test (2)" in printed and "asked     'Which pitch?'" in printed
    assert "6 clips, 2 classes, train 4, test 2" in result.stdout


def test_settings_of_the_fit_are_kept(class_folder: Maker) -> None:
    extract(class_folder(3))
    fitted = calm(
        *("fit", "--top-heads", 4, "--out", "my.safetensors", "--shots", 2),
        *("--set", "reliability=brier", "--set", "cross_fit=false", "--set", "shrinkage=2"),
    )
    assert "CALM*" in fitted.stdout and "* with reliability='brier', cross_fit=False, shrinkage=2" in fitted.stdout
    assert re.search(r"uses 4 of 48 heads; predictions need layers 0 to \d of 6", fitted.stdout)
    printed = calm("info", "my.safetensors").stdout
    assert "cross_fit=False" in printed and "reliability='brier'" in printed and "top_heads=4" in printed
    assert "48 × 32 dimensions, 4 of them used, in layers up to" in printed
    assert re.search(r"weights   layer \d · head \d \(\d+\.\d %\)", printed)
    assert calm("predict", "-c", "my.safetensors", "data/low/0.wav").exit_code == 0


def test_any_method_can_be_fitted(class_folder: Maker) -> None:
    extract(class_folder(3))
    for method, kind in (("linear-probe", "LinearProbeClassifier"), ("sav", "SAVClassifier"), ("grw", "GlobalWeight")):
        assert calm("fit", "--method", method, "--shots", 2, "--no-compare").exit_code == 0
        assert f"a fitted {kind}" in calm("info", "calm.safetensors").stdout
    fails(calm("predict", "data/low/0.wav", "--reject", 0.1), "calm.safetensors does not support --reject: only CALM")


def test_the_help_of_fit_names_every_method() -> None:
    from calm.classifiers.registry import METHODS

    printed = " ".join(calm("fit", "--help").stdout.replace("│", " ").split())
    assert ", ".join(METHODS) in printed


def test_rejected_clips_are_marked(class_folder: Maker) -> None:
    extract(class_folder(8))
    calm("fit")
    soundfile.write("hiss.wav", noise(0.5, seed=5), 16000)
    printed = [json.loads(line) for line in calm("predict", "hiss.wav", "data/low/3.wav", "--json").stdout.splitlines()]
    assert printed[0]["typicality"] < 0.2 < printed[1]["typicality"]
    result = calm("predict", "hiss.wav", "data/low/3.wav", "--reject", 0.1)
    assert re.search(r"^hiss\.wav +none of these \((low|high)\?\)", result.stdout, re.MULTILINE)
    assert re.search(r"^data/low/3\.wav +low ", result.stdout, re.MULTILINE)
    assert result.stderr == ""
    result = calm("predict", "hiss.wav", "--reject", 0.01)
    assert "none of these" not in result.stdout
    assert result.stderr.startswith("warning: reject=0.01 rejects no clip: with 16 held-out support clips")


def test_fitting_on_everything_leaves_nothing_to_compare_on(class_folder: Maker) -> None:
    extract(class_folder(3))
    assert "no query clips are left to measure accuracy on" in calm("fit").stdout
    result = calm("evaluate")
    assert result.exit_code == 1
    assert "no clips of heads.h5 are left to evaluate on" in result.stderr
    assert "calm.safetensors on 6 clips of heads.h5\n" in calm("evaluate", "--all").stdout


def test_labels_without_a_class_are_reported(class_folder: Maker) -> None:
    extract(class_folder(2))
    calm("fit")
    extract(class_folder(2, classes=("high", "hum"), name="more"), "--out", "more.h5")
    result = calm("evaluate", "more.h5", "--all")
    assert "warning: labels without a class in calm.safetensors: hum (their clips count as errors)\n" in result.stderr
    assert re.search(r"^low +0 +0\.0 % +– +–", result.stdout, re.MULTILINE)


def test_a_narrow_terminal_cuts_no_answer() -> None:
    ours, theirs = pty.openpty()
    narrow = {**os.environ, "COLUMNS": "30", "TERM": "xterm"}
    process = subprocess.run([sys.executable, "-m", "calm", "models"], stdout=theirs, env=narrow, check=True)
    os.close(theirs)
    printed = os.read(ours, 10_000).decode()
    os.close(ours)
    assert process.returncode == 0
    assert "Qwen/Qwen2-Audio-7B-Instruct" in printed and "…" not in printed


# --- errors: one line on standard error, a non-zero exit code, and no traceback ---


def test_extracting_from_nothing(tmp_path: Path) -> None:
    fails(extract(tmp_path / "nowhere"), "no such file or folder: .*nowhere")
    (tmp_path / "empty").mkdir()
    fails(extract(tmp_path / "empty"), "no audio files found in .*empty")


def test_extracting_with_an_unknown_model(class_folder: Maker) -> None:
    fails(
        calm("extract", class_folder(1), "--model", "qwen-audio"),
        "unknown model 'qwen-audio': did you mean qwen2-audio",
    )


def test_extracting_to_where_nothing_can_be_written(class_folder: Maker) -> None:
    fails(extract(class_folder(1), "--out", "nowhere/heads.h5"), "cannot write heads.h5: folder nowhere does not exist")
    fails(extract(class_folder(1), "--out", "data"), "data is a folder, not a head cache")


def test_resuming_with_another_prompt_or_model(class_folder: Maker, tiny: object) -> None:
    data = class_folder(1)
    extract(data)
    fails(
        extract(data, "--question", "Who?"),
        "heads.h5 and this run cannot be mixed: they differ in question .*'Who\\?' in this run",
    )
    fails(extract(data, "--dtype", "bfloat16"), "differ in .*dtype \\('float32' in heads.h5, 'bfloat16' in this run\\)")


def test_fitting_what_cannot_be_fitted(class_folder: Maker) -> None:
    fails(calm("fit"), "no such file: heads.h5")
    extract(class_folder(3))
    fails(calm("fit", "--shots", 5), r"fewer clips than 5 shots in: high \(3\), low \(3\)")
    fails(calm("fit", "--out", "heads.h5"), "heads.h5 exists and is not a saved classifier, so it is not replaced")
    fails(
        calm("fit", "--out", "nowhere/clf.safetensors"), "cannot write clf.safetensors: folder nowhere does not exist"
    )
    extract(class_folder(3, classes=("only",), name="one"), "--out", "one.h5")
    fails(calm("fit", "one.h5"), "fit needs at least two classes, but the support set has only one class, 'only'")


def test_damaged_files(class_folder: Maker) -> None:
    data = class_folder(40)
    extract(data)
    calm("fit", "--shots", 2)
    whole = Path("heads.h5").read_bytes()
    Path("heads.h5").write_bytes(whole[: len(whole) // 2])
    for command in (("fit",), ("info",), ("evaluate",)):
        fails(calm(*command), "heads.h5 is a truncated HDF5 file")
    fails(extract(data), "heads.h5 is a truncated HDF5 file")
    Path("calm.safetensors").write_bytes(Path("calm.safetensors").read_bytes()[:-10])
    fails(
        calm("predict", "data/low/0.wav"),
        "calm.safetensors is damaged .*: not a safetensors file, or trunc",
    )
    fails(
        calm("info", "calm.safetensors"),
        "calm.safetensors is damaged .*: not a safetensors file, or trunc",
    )


def test_predicting_what_cannot_be_predicted(class_folder: Maker) -> None:
    fails(calm("predict", "clip.wav"), "no such file: calm.safetensors")
    extract(class_folder(2))
    calm("fit")
    fails(calm("predict", "nowhere.wav"), "no such file or folder: nowhere.wav")


def test_evaluating_on_a_cache_of_another_extraction(class_folder: Maker) -> None:
    data = class_folder(2)
    extract(data)
    calm("fit", "--shots", 1)
    extract(data, "--question", "Who?", "--out", "other.h5")
    fails(calm("evaluate", "other.h5"), "of this classifier and other.h5 cannot be mixed: they differ in prompt")


def test_an_environment_variable_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALM_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        calm("fit")


# --- lazy imports ---


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    environment = {**os.environ, "COLUMNS": "80"}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return {name.split(".")[0] for name in result.stdout.splitlines()[-1].split()}


HEAVY = {"torch", "transformers", "matplotlib", "sklearn", "scipy", "h5py", "pandas"}


def test_importing_calm_imports_nothing_heavy() -> None:
    assert not modules_after("import calm") & (HEAVY | {"numpy"})


def test_asking_for_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['calm', '--help']; from calm.cli import app; app(standalone_mode=False)"
    assert not modules_after(code) & HEAVY


def test_the_fitter_and_the_readers_do_not_import_torch() -> None:
    code = "from calm import CALMClassifier, SAVClassifier, HeadCache, HeadExtractor, load, find_clips, evaluate"
    assert not modules_after(code) & {"torch", "transformers", "matplotlib"}


def test_labels_and_names_of_other_people_move_no_cursor(tmp_path: Path) -> None:
    evil = "do\x1b[2Jg\nerror: not"
    for label, pitch in ((evil, 300), ("rain", 2000)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(4):
            soundfile.write(tmp_path / "data" / label / f"{i}.wav", tone(pitch, seed=i), 16000)
    (tmp_path / "data" / evil / "text\u202e.wav").write_text("no audio")
    commands = [["extract", "--model", "tiny", "data"], ["fit", "--shots", "2"], ["evaluate"], ["info"]]
    commands += [["info", "calm.safetensors"], ["predict", f"data/{evil}/0.wav"]]
    for command in commands:
        result = calm(*command)
        assert "\x1b[2J" not in result.output and "\u202e" not in result.output
        assert not any(line.startswith("error: not") for line in result.output.splitlines())
