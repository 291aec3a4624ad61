"""Output that all commands share: one-line errors and warnings, tables, formatted numbers, and JSON."""

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

#: Exit codes.
SOME_CLIPS_FAILED = 3
INTERRUPTED = 130

_SHOWN_FAILURES = 10

P = ParamSpec("P")
R = TypeVar("R")


def print_line(line: str, *, err: bool = False) -> None:
    """Print one line to standard output or standard error; control characters in the text are escaped."""
    _write(escape_unprintable(line), err=err)


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Decorate a command so that it prints errors and warnings as one line each, and exits with 1 after an error.

    With the environment variable ``CALM_TRACEBACK=1``, errors are raised with their traceback.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with show_each_warning_once(_warn):
                return command(*args, **kwargs)
        except BrokenPipeError:  # the reader of a pipe, such as `head`, has closed it
            raise
        except (ValueError, OSError, ImportError, MemoryError) as error:
            if os.environ.get("CALM_TRACEBACK"):
                raise
            print_line(f"error: {error}" if str(error) else f"error: {type(error).__name__}", err=True)
            raise typer.Exit(1) from error

    return run


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning without the file and line that raised it."""
    print_line(f"warning: {message}", err=True)


def _write(line: str, *, err: bool = False) -> None:
    # Without an explicit file, typer writes UTF-8 even if the locale is ASCII.
    typer.echo(line, file=sys.stderr if err else sys.stdout)


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on one line, with all characters other than ASCII as JSON escapes."""
    _write(json.dumps(content))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> None:
    """Print a table with aligned columns; the columns whose indices are in ``numbers`` are aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, name in enumerate(header):
        table.add_column(Text(escape_unprintable(name)), justify="right" if i in set(numbers) else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(escape_unprintable(cell)) for cell in row))  # Text: a label is not markup
    console = Console(highlight=False, width=1000)  # wide, because rich truncates cells on a narrow terminal
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        _write(line.rstrip())  # the cells are escaped already, and the escape codes of the bold header must stay


def print_failures(failures: Mapping[str, str]) -> None:
    """Print the names of failed clips with their reasons to standard error."""
    for name, reason in list(failures.items())[:_SHOWN_FAILURES]:
        print_line(f"failed: {name}: {reason}", err=True)
    if len(failures) > _SHOWN_FAILURES:
        print_line(f"… and {len(failures) - _SHOWN_FAILURES} more", err=True)


def format_percent(share: float) -> str:
    """Format a share between 0 and 1 as a percentage."""
    return f"{100 * share:.1f} %"


def format_interval(ends: tuple[float, float]) -> str:
    """Format an interval of shares between 0 and 1 as percentages."""
    return f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f} %"


def format_count(n: int, noun: str) -> str:
    """Format a count with its noun in the singular or plural.

    >>> format_count(1, "clip"), format_count(2, "class")
    ('1 clip', '2 classes')
    """
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{n} {noun if n == 1 else plural}"
