"""What the commands share: one-line errors, numbers and tables for people, JSON for machines."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import typer

from calm.terminal import escape_unprintable
from calm.unique_warnings import show_each_warning_once

SOME_CLIPS_FAILED = 3
STOPPED = 130
_SHOWN_FAILURES = 10

P = ParamSpec("P")
R = TypeVar("R")


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whatever is in it: to standard output, or to standard error."""
    _write(escape_unprintable(line), err=err)


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print a user's mistake as one line and exit with 1; set CALM_TRACEBACK=1 to see where it was raised.

    Warnings are one line each too.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with show_each_warning_once(_warn):
                return command(*args, **kwargs)
        except BrokenPipeError:  # the reader has left, as `head` does
            raise
        except (ValueError, OSError, ImportError, MemoryError) as error:
            if os.environ.get("CALM_TRACEBACK"):
                raise
            say(f"error: {error}" if str(error) else f"error: {type(error).__name__}", err=True)
            raise typer.Exit(1) from error

    return run


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning without the place in the code that gave it."""
    say(f"warning: {message}", err=True)


def _write(line: str, *, err: bool = False) -> None:
    # Told no file, typer writes UTF-8 where the locale is ASCII.
    typer.echo(line, file=sys.stderr if err else sys.stdout)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on one line; all that is not ASCII is escaped in it, and comes back as it was."""
    _write(json.dumps(content))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> None:
    """Print aligned columns; those in ``numbers`` to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, name in enumerate(header):
        table.add_column(Text(escape_unprintable(name)), justify="right" if i in set(numbers) else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(escape_unprintable(cell)) for cell in row))  # a label may look like markup
    console = Console(highlight=False, width=1000)  # a narrow terminal wraps lines; cutting cells would lose answers
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        _write(line.rstrip())  # visible already, but for the header's own bold type


def print_failures(failures: Mapping[str, str]) -> None:
    """List the clips that failed, on standard error."""
    for name, reason in list(failures.items())[:_SHOWN_FAILURES]:
        say(f"failed: {name}: {reason}", err=True)
    if len(failures) > _SHOWN_FAILURES:
        say(f"… and {len(failures) - _SHOWN_FAILURES} more", err=True)


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{100 * share:.1f} %"


def interval(ends: tuple[float, float]) -> str:
    """Write an interval of shares as percentages."""
    return f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f} %"


def plural(n: int, noun: str) -> str:
    """Write a count with its noun.

    >>> plural(1, "clip"), plural(2, "class")
    ('1 clip', '2 classes')
    """
    many = noun + ("es" if noun.endswith("s") else "s")
    return f"{n} {noun if n == 1 else many}"
