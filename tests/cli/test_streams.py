"""Commands with closed pipes, closed standard streams, and terminals without Unicode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from calm import HeadCache
from tests.cli.commands import calm, extract
from tests.cli.test_help import COMMANDS
from tests.conftest import tone

Maker = Callable[..., Path]

#: An ASCII locale that Python must not replace by UTF-8.
ASCII = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "40"}


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line in a shell in which ``calm`` is the command under test."""
    line = f'calm() {{ "{sys.executable}" -m calm "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", line], capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_can_be_read_where_few_characters_are_known(command: str, encoding: str) -> None:
    result = shell(f"calm {command} --help", **ASCII | {"PYTHONIOENCODING": encoding})
    assert (result.returncode, result.stderr) == (0, b"")
    assert encoding != "ascii" or result.stdout.isascii()


def test_answers_can_be_read_where_few_characters_are_known(class_folder: Maker) -> None:
    data = class_folder(3, classes=("high", "löw"))
    extract(data)
    for encoding in ("ascii", "latin-1"):
        for command in ("fit --shots 2", "evaluate", "info", "info calm.safetensors", "models", "info nöwhere"):
            result = shell(f"calm {command}", **ASCII | {"PYTHONIOENCODING": encoding})
            said = result.stdout + result.stderr
            assert (
                result.returncode == (command == "info nöwhere") and b"Traceback" not in said and b"codec" not in said
            )
            assert encoding != "ascii" or said.isascii(), said
    fitted = shell("calm fit --shots 2 --no-compare && calm evaluate", **ASCII).stdout.decode("ascii")
    assert "interval 34.2 - 100.0 %" in fitted and "l\\xf6w" in fitted
    assert "6 layers x 8 heads x 32 dimensions" in shell("calm info", **ASCII).stdout.decode("ascii")


def test_a_usual_terminal_gets_all_characters() -> None:
    said = shell("calm models", PYTHONIOENCODING="utf-8").stdout.decode()
    assert "32 layers × 32 heads" in said


@pytest.mark.parametrize("command", ["models", "models --json", "info", "info --json", "predict --json data", "--help"])
def test_a_reader_that_leaves_gets_no_traceback(command: str, class_folder: Maker) -> None:
    data = class_folder(3)
    extract(data)
    calm("fit")
    result = shell(f"calm {command} | head -c 1")
    assert (result.returncode, result.stderr) == (0, b"")


def test_nothing_that_libraries_print_gets_into_a_cache(class_folder: Maker) -> None:
    """A file that is opened while standard output or error is closed gets its file descriptor."""
    data = class_folder(2)
    (data / "low/bad.mp3").write_bytes(b"ID3\x04\0\0\0\0\0\0" + b"\xff\xfb\x90\0" + bytes(range(256)) * 40)
    for number, closed in enumerate((">&-", "2>&-", "<&- >&- 2>&-")):
        result = shell(f"calm extract --model tiny --device cpu data -o {number}.h5 {closed}")
        assert b"Traceback" not in result.stderr
        assert result.returncode == 3, result
        with HeadCache(f"{number}.h5") as cache:
            assert len(cache.done) == 4


def test_files_never_take_the_number_of_a_standard_stream() -> None:
    code = (
        "import os, sys; from calm.cli._streams import prepare_streams; prepare_streams();"
        "sys.exit(os.open(os.devnull, os.O_RDONLY))"
    )
    for closed in (">&-", "2>&-", "<&- >&- 2>&-"):
        assert shell(f'"{sys.executable}" -c "{code}" {closed}').returncode > 2


@pytest.mark.parametrize("command", ["fit", "evaluate", "info", "predict a.wav", "extract --model tiny nowhere"])
def test_an_error_leaves_nothing_where_json_is_expected(command: str) -> None:
    result = calm(*command.split(), "--json")
    assert result.exit_code == 1 and result.stdout == "" and result.stderr.startswith("error: ")


def test_partial_failures_are_in_the_json(class_folder: Maker) -> None:
    data = class_folder(2)
    (data / "low/bad.wav").write_text("no audio")
    result = extract(data, "--json")
    assert result.exit_code == 3 and json.loads(result.stdout)["failures"].keys() == {"low/bad.wav"}
    assert result.stderr == ""
    calm("fit")
    result = calm("predict", "data", "--json")
    output = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 3 and [line["clip"] for line in output if "error" in line] == ["data/low/bad.wav"]


def test_a_full_disk_is_an_error_of_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    result = shell("calm models > /dev/full")
    assert result.returncode == 1 and result.stderr == b"error: [Errno 28] No space left on device\n"


def test_names_of_files_that_are_no_text_reach_the_json(class_folder: Maker) -> None:
    extract(class_folder(2))
    calm("fit")
    soundfile.write("näme.wav", tone(300), 16000)
    result = shell("calm predict --json --device cpu n*me.wav", **ASCII)
    assert result.returncode == 0 and json.loads(result.stdout)["label"] == "low"
