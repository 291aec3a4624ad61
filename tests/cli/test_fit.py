"""``calm fit``: its help, command lines that it refuses, and what it says about the support set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from calm.classifiers.parameter_help import describe_parameters
from calm.classifiers.registry import METHODS
from calm.cli import app

Maker = Callable[..., Path]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def calm(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)


def extract(data: Path, *args: object) -> Result:
    return calm("extract", "--model", "tiny", "--device", "cpu", data, *args)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "magic"], "Invalid value for '--method': 'magic' is not one of calm, calm-published, sav"),
        (["--set", "top_heads"], "Invalid value for '--set': expected NAME=VALUE, got 'top_heads'"),
        (["--set", "depth=3"], "method 'calm' has no parameter 'depth'; its parameters are calibrate, combine"),
        (["--method", "linear-probe", "--top-heads", 3], "'linear-probe' has no parameter 'top_heads'; its parameters"),
        (["--set", "reliability=luck"], "reliability must be one of separation"),
        (["--set", "temperature=1e-300"], "temperature must be above 0"),
        (["--set", "temperature=[1]"], "temperature must be above 0"),
        (["--top-heads", 8, "--set", "top_heads=9"], "top_heads is set twice"),
        (["--set", "shrinkage=1", "--set", " shrinkage = 2"], "shrinkage is set twice"),
    ],
)
def test_a_wrong_command_line_is_refused_before_the_cache_is_opened(arguments: list[object], message: str) -> None:
    result = calm("fit", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_the_help_lists_the_parameters_of_every_method_without_importing_torch() -> None:
    code = (
        "import sys; from calm.cli import app; app(['fit', '--help'], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    printed = " ".join(run.stdout.split())
    for method, classifier in METHODS.items():
        for one in describe_parameters(classifier):
            assert one.values and one.description.endswith("."), (method, one.name)
            assert f"{one.name}=" in printed and one.description in printed, (method, one.name)
    assert "Parameters of --method calm-published: those of calm, with other defaults: combine=vote" in printed


def test_every_parameter_of_a_method_is_described_with_its_value() -> None:
    for name, classifier in METHODS.items():
        described = {one.name: one.default for one in describe_parameters(classifier)}
        assert described | {"n_heads": None} == classifier.get_params(), name


def test_fit_names_the_split_of_the_support_set_and_says_that_it_is_one_draw(class_folder: Maker) -> None:
    extract(class_folder(3))
    printed = calm("fit", "--shots", 2).stdout
    assert "(2 per class, seed 0)" in printed and "this is one support set" in printed
    rows = [
        f"data/{label}/{i}.wav,{label},{'Train' if i < 2 else 'test'}" for label in ("high", "low") for i in range(3)
    ]
    Path("clips.csv").write_text("\n".join(["path,label,split", *rows]))
    assert "next: calm fit --shots 2 split.h5" in extract(Path("clips.csv"), "--out", "split.h5").stdout
    assert "(2 per class from Train, seed 0)" in calm("fit", "split.h5", "--shots", 2).stdout
    printed = calm("fit", "split.h5", "--no-compare").stdout
    assert "(all available clips from Train)" in printed and "this is one support set" not in printed


def test_fit_says_that_the_other_class_has_only_failed_clips(class_folder: Maker) -> None:
    data = class_folder(3)
    for clip in (data / "low").iterdir():
        clip.write_bytes(b"no sound")
    extract(data)
    result = calm("fit")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "warning: 3 of 6 clips of heads.h5 have no head vectors "
        "(failed or not extracted yet); classes without any: low",
        "error: fit needs at least two classes, but the support set has only one class, 'high'",
    ]


@pytest.mark.parametrize(("clips", "option"), [(1, ""), (2, " --shots 1"), (4, " --shots 3"), (6, " --shots 5")])
def test_extract_suggests_as_many_shots_as_leave_queries(class_folder: Maker, clips: int, option: str) -> None:
    printed = extract(class_folder(clips)).stdout
    assert printed.endswith(f"next: calm fit{option}\n")
    if option:
        assert "query clips:" in calm(*f"fit{option}".split()).stdout
