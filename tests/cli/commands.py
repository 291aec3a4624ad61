"""Run commands of calm in tests."""

from __future__ import annotations

import re
from pathlib import Path

from typer.testing import CliRunner, Result

from calm.cli import app


def calm(*args: object) -> Result:
    """Run a command in this process; an exception that is no plain exit fails the test."""
    return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)


def extract(data: Path, *args: object) -> Result:
    """Extract the head vectors of a folder or manifest with the model tiny."""
    return calm("extract", "--model", "tiny", "--device", "cpu", data, *args)


def fails(result: Result, message: str) -> None:
    assert result.exit_code == 1
    assert re.match(f"error: .*{message}", result.stderr), result.stderr
    assert result.stderr.count("\n") == 1
