"""``calm extract``: extract head vectors of clips into a head cache."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from calm.cli._files import CACHE
from calm.cli._options import expand_option_groups
from calm.cli._shared import (
    INTERRUPTED,
    SOME_CLIPS_FAILED,
    format_count,
    one_line_errors,
    print_failures,
    print_json,
    print_line,
    print_notes,
)
from calm.extract.media.clip import Columns
from calm.extract.request import Request
from calm.extract.run_options import RunOptions
from calm.options import option_values

if TYPE_CHECKING:
    from calm.extract import Clip, ExtractionReport


@one_line_errors
@expand_option_groups
def extract(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with one sub-folder per class, an AudioFolder with metadata.csv or .jsonl, a CSV, TSV, JSON "
            "or JSONL manifest, or one audio or video file."
        ),
    ],
    request: Request,
    run_options: RunOptions,
    columns: Columns,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Head cache to write. If it exists, the extraction resumes.")
    ] = CACHE,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder to which paths in a manifest are relative. By default the manifest's own folder.",
            rich_help_panel=Columns.panel,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Extract only this many clips of each class (in each split), taken from its groups in turn. "
            "A later run without it adds the others.",
            rich_help_panel=RunOptions.panel,
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Extract only the clips of this split, such as train.", rich_help_panel=RunOptions.panel),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Extract the head vectors of every clip into a head cache.

    Run the same command again to resume an interrupted extraction. A clip that cannot be read is marked as failed,
    with the reason, and is tried again by the next run.
    """
    from calm.extract import extract_to_cache
    from calm.extract.media.find import find_clips_at
    from calm.extract.media.subset import limit_clips, select_split

    clips, manifest_columns = find_clips_at(data, columns, root)
    if split is not None:
        clips = select_split(clips, split)
    if limit is not None:
        clips = limit_clips(clips, limit)
    if not json:
        print_line(_describe_clips(data, clips))
        if manifest_columns is not None:
            print_line(f"columns: {manifest_columns.describe()}")
    signal.signal(signal.SIGTERM, _raise_keyboard_interrupt)  # clusters send SIGTERM before they kill a job
    try:
        report = extract_to_cache(clips, out, request, progress=not json, **option_values(run_options))
    except KeyboardInterrupt:
        print_line(f"interrupted: {_describe_progress(out)}; run the same command again to resume", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if json:
        facts = asdict(report) | {"cache": str(out)}
        print_json({key: facts[key] for key in _JSON_KEYS})
    else:
        _print_report(report, out, clips)
    if report.failures:
        raise typer.Exit(SOME_CLIPS_FAILED if report.done else 1)


#: Keys of the JSON output.
_JSON_KEYS = ("cache", "clips", "done", "new", "failed", "unread", "failures", "cut", "silent", "notes")


def _describe_clips(data: Path, clips: list[Clip]) -> str:
    """Describe the clips that were found: their number, classes, groups and splits."""
    classes, groups = ({getattr(clip, name) for clip in clips} - {None} for name in ("label", "group"))
    parts = [format_count(len(clips), "clip"), format_count(len(classes), "class") if classes else "no labels"]
    if groups:
        parts.append(format_count(len(groups), "group"))
    splits = Counter(clip.split for clip in clips if clip.split is not None)
    parts += [f"{split} {n}" for split, n in splits.items()]
    return f"{data}: {', '.join(parts)}"


def _print_leakage_advice(clips: list[Clip]) -> None:
    """Print one line if nothing keeps clips of one recording from being both in the support set and in the queries."""
    if all(clip.group is None and clip.split is None for clip in clips):
        print_line(
            "note: the clips have no groups, so clips of one recording or speaker may be in both support set and "
            "queries: name groups in a manifest with a group column",
            err=True,
        )


def _print_report(report: ExtractionReport, out: Path, clips: list[Clip]) -> None:
    """Print what the extraction did, warnings about clips, and the command to run next."""
    print_failures(report.failures)
    earlier = report.done - report.new
    from_earlier_run = f", {earlier} of them from an earlier run" if earlier else ""
    print_line(f"{out}: head vectors of {report.done} of {format_count(report.clips, 'clip')}{from_earlier_run}")
    if report.cut:
        print_line(
            f"warning: {format_count(report.cut, 'clip')} cut to the first {report.window_seconds:g} s", err=True
        )
    if report.silent:
        print_line(
            f"warning: {format_count(report.silent, 'clip')} of digital silence (all samples are zero)", err=True
        )
    print_notes(report.notes)
    if report.failures:
        _print_retry_advice(report.unread, report.failed - report.unread)
    elif (shots_option := _suggest_shots(clips, out)) is not None:
        _print_leakage_advice(clips)
        print_line(f"next: calm fit{shots_option}" + ("" if out == CACHE else f" {out}"))


def _print_retry_advice(n_unread: int, n_failed_later: int) -> None:
    """Print which failed clips the next run tries again: unreadable ones, but not those that failed after reading."""
    if n_unread:
        them = "it" if n_unread == 1 else "them"
        print_line(
            f"{format_count(n_unread, 'clip')} could not be read: repair {them} and run the same command again",
            err=True,
        )
    if n_failed_later:
        was, they_are, their = ("was", "it is", "its") if n_failed_later == 1 else ("were", "they are", "their")
        print_line(
            f"{format_count(n_failed_later, 'clip')} {was} read but failed later: {they_are} tried again only if "
            f"{their} file or question changes",
            err=True,
        )


def _suggest_shots(clips: list[Clip], cache: Path) -> str | None:
    """Suggest an option of ``calm fit``: five shots, or fewer if clips are few; None if there are no two classes."""
    from calm.evaluation.episodes import find_most_shots
    from calm.extract import HeadCache

    if len({clip.label for clip in clips} - {None}) < 2:
        return None
    with HeadCache(cache) as opened:
        most = find_most_shots(opened)
    return "" if most is None else f" --shots {min(5, most)}"


def _describe_progress(out: Path) -> str:
    """Describe how many clips of an interrupted extraction are in the cache."""
    from calm.extract import HeadCache

    if not out.exists():
        return "nothing was written yet"
    with HeadCache(out) as cache:
        return f"{len(cache.done)} of {format_count(len(cache), 'clip')} are in {out}"


def _raise_keyboard_interrupt(signum: int, frame: object) -> NoReturn:
    """Handle a signal like Ctrl-C."""
    raise KeyboardInterrupt
