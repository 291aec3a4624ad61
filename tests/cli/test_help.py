"""Help pages of the commands, and the values that their options accept."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner, Result

from calm.cli import app

COMMANDS = ("extract", "fit", "predict", "evaluate", "explain", "zero-shot", "info", "export", "models", "demo")


def run_command(*args: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(args))


def panels(text: str) -> dict[str, list[str]]:
    """Return the options of each panel of a help page, in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if title := re.match(r"╭─ (.*?) ─", line):
            found[title[1]] = options = []
        elif flag := re.match(r"│[ *]+(--[a-z-]+)", line):
            options.append(flag[1])
    return found


def test_extract_shows_first_what_is_needed_first_and_the_rest_by_group() -> None:
    found = panels(run_command("extract", "--help").stdout)
    assert list(found) == ["Arguments", "Options", "Prompt", "Clips", "Model", "Run", "Manifest"]
    assert found["Options"] == ["--model", "--out", "--json", "--help"]
    assert set(found["Prompt"]) == {"--question", "--template"}
    assert "--modality" in found["Clips"] and {"--dtype", "--device"} < {*found["Model"]}
    assert "--strict" in found["Run"] and {"--root", "--label-column"} < {*found["Manifest"]}


def test_predict_shows_its_own_options_before_those_of_the_model() -> None:
    found = panels(run_command("predict", "--help").stdout)
    assert found["Options"][0] == "--classifier" and "--device" not in found["Options"]
    assert {"--model", "--device"} < {*found["Model"]}


@pytest.mark.parametrize("option", ["--modality", "--dtype", "--quantize", "--storage"])
def test_a_value_that_an_option_cannot_have_is_a_wrong_command_line(option: str) -> None:
    result = run_command("extract", "--model", "tiny", "nowhere", option, "loud")
    assert result.exit_code == 2 and f"'{option}'" in result.stderr and "'loud' is not one of" in result.stderr


def test_the_help_lists_the_values_of_an_option() -> None:
    text = run_command("extract", "--help").stdout
    for values in ("audio|visual|audio-visual", "float32|bfloat16|float16", "int8|nf4", "float16|float32"):
        assert values in text


@pytest.mark.parametrize("command", COMMANDS)
def test_paragraphs_of_a_help_page_are_not_broken_off_in_the_middle(command: str) -> None:
    words = run_command(command, "--help").stdout.split("╭")[0]
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    assert all(line.endswith((".", "[OPTIONS]", "]", "}", "...")) or len(line) > 150 for line in lines), lines


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("fit", "By default all available clips"),
        ("extract", "By default the manifest's own folder"),
        ("demo", "By default the first accelerator"),
        ("predict", "By default 8 on a CPU"),
    ],
)
def test_a_default_without_a_value_is_described_in_words(command: str, default: str) -> None:
    assert default in " ".join(run_command(command, "--help").stdout.replace("│", " ").split())
