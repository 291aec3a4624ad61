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

#: Number of clips that are listed.
_MAX_LISTED = 10

#: Longest cell of a table, and longest label in a list of labels, in characters.
_MAX_CELL = 60

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


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), whole: Iterable[int] = ()
) -> None:
    """Print a table with aligned columns; the columns whose indices are in ``numbers`` are aligned to the right.

    Long cells are shortened, except those of the columns in ``whole``, such as paths, and those of the last column,
    which no other column follows.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kept = set(whole)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, name in enumerate(header):
        table.add_column(Text(escape_unprintable(name)), justify="right" if i in set(numbers) else "left", no_wrap=True)
    for row in rows:
        shown = [cell if i in kept or i == len(row) - 1 else shorten(cell) for i, cell in enumerate(row)]
        table.add_row(*(Text(escape_unprintable(cell)) for cell in shown))  # Text: a label is not markup
    console = Console(highlight=False, width=1000)  # wide, because rich truncates cells on a narrow terminal
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        _write(line.rstrip())  # the cells are escaped already, and the escape codes of the bold header must stay


def shorten(text: str) -> str:
    """Replace the middle of a long text by …, so that the end of a path stays.

    >>> shorten("rain"), shorten("a" * 40 + "b" * 40)
    ('rain', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa…bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb')
    """
    half = _MAX_CELL // 2
    return text if len(text) <= _MAX_CELL else f"{text[: half - 1]}…{text[-half:]}"


def print_failures(failures: Mapping[str, str]) -> None:
    """Print the names of failed clips with their reasons to standard error."""
    _print_first([f"failed: {name}: {reason}" for name, reason in failures.items()])


def print_notes(notes: Mapping[str, Sequence[str]]) -> None:
    """Print what is unusual about clips to standard error; clips that are only cut come last."""
    only_cut_last = sorted(notes.items(), key=lambda item: all(note.startswith("cut ") for note in item[1]))
    _print_first([f"note: {name}: {'; '.join(clip_notes)}" for name, clip_notes in only_cut_last])


def _print_first(lines: Sequence[str]) -> None:
    """Print the first lines to standard error, and how many more there are."""
    for line in lines[:_MAX_LISTED]:
        print_line(line, err=True)
    if len(lines) > _MAX_LISTED:
        print_line(f"… and {len(lines) - _MAX_LISTED} more", err=True)


def format_size(n_bytes: int) -> str:
    """Format a number of bytes in kB, MB or GB.

    >>> format_size(46_493), format_size(1_440_000), format_size(999_960), format_size(12)
    ('46.5 kB', '1.4 MB', '1.0 MB', '0.0 kB')
    """
    kilobytes = n_bytes / 1000
    if kilobytes < 999.95:
        return f"{kilobytes:.1f} kB"
    megabytes = kilobytes / 1000
    return f"{megabytes:.1f} MB" if megabytes < 999.95 else f"{megabytes / 1000:.1f} GB"


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
