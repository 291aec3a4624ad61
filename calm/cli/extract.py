"""``calm extract``: a folder of clips in, a head cache out."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from calm.cli._files import CACHE
from calm.cli._options import takes_groups
from calm.cli._shared import SOME_CLIPS_FAILED, STOPPED, one_line_errors, plural, print_failures, print_json, say
from calm.extract.media.clip import Columns
from calm.extract.request import Request
from calm.extract.run_options import RunOptions
from calm.options import option_values

if TYPE_CHECKING:
    from calm.extract import Clip, ExtractionReport


@one_line_errors
@takes_groups
def extract(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with one sub-folder a class, an AudioFolder with metadata.csv or .jsonl, a CSV, TSV, JSON "
            "or JSONL manifest, or one audio or video file."
        ),
    ],
    request: Request,
    how: RunOptions,
    columns: Columns,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The head cache to write, or to go on with if it is there.")
    ] = CACHE,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Where a manifest's paths start; default: the manifest's own folder.", rich_help_panel=Columns.panel
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Extract the head vectors of every clip into a cache.

    Stop it, kill it, run it again: it goes on where it was. A clip that cannot be read is marked as failed with its
    reason, and tried again by the next run.
    """
    from calm.extract import extract_to_cache, find_clips

    clips = find_clips(data, columns=columns, root=root)
    if not json:
        say(_describe(data, clips))
    signal.signal(signal.SIGTERM, _stop)  # what a cluster sends first
    try:
        report = extract_to_cache(clips, out, request, progress=not json, **option_values(how))
    except KeyboardInterrupt:
        say(f"stopped: {_kept(out)}; the same command goes on from there", err=True)
        raise typer.Exit(STOPPED) from None
    if json:
        facts = asdict(report) | {"cache": str(out)}
        print_json({name: facts[name] for name in _TOLD})
    else:
        _tell(report, out, clips)
    if report.failures:
        raise typer.Exit(SOME_CLIPS_FAILED)


#: What machines are told of a report.
_TOLD = ("cache", "clips", "done", "new", "failed", "unread", "failures", "cut", "silent")


def _describe(data: Path, clips: list[Clip]) -> str:
    classes, groups = ({getattr(clip, c) for clip in clips} - {None} for c in ("label", "group"))
    parts = [plural(len(clips), "clip"), plural(len(classes), "class") if classes else "no labels"]
    if groups:
        parts.append(plural(len(groups), "group"))
    splits = Counter(clip.split for clip in clips if clip.split is not None)
    parts += [f"{split} {n}" for split, n in splits.items()]
    return f"{data}: {', '.join(parts)}"


def _tell(report: ExtractionReport, out: Path, clips: list[Clip]) -> None:
    print_failures(report.failures)
    already = "" if report.new == report.done else f", {report.done - report.new} of them already there"
    say(f"{out}: head vectors of {report.done} of {plural(report.clips, 'clip')}{already}")
    if report.cut:
        say(f"warning: {plural(report.cut, 'clip')} cut at {report.window_seconds:g} s", err=True)
    if report.silent:
        say(f"warning: {plural(report.silent, 'clip')} of digital silence", err=True)
    if report.failures:
        _advise(report.unread, report.failed - report.unread)
    elif (shots := _shots([clip.label for clip in clips])) is not None:
        say(f"next: calm fit{shots}" + ("" if out == CACHE else f" {out}"))


def _advise(unread: int, later: int) -> None:
    """Say what is to be done about clips that could not be read, and about those that failed later."""
    if unread:
        them = "it" if unread == 1 else "them"
        say(f"{plural(unread, 'clip')} could not be read: mend {them} and run this again", err=True)
    if later:
        was, they_are, their = ("was", "it is", "its") if later == 1 else ("were", "they are", "their")
        say(
            f"{plural(later, 'clip')} {was} read and failed later: {they_are} not tried again unless {their} file or "
            "question changes",
            err=True,
        )


def _shots(labels: list[str | None]) -> str | None:
    """Advise on shots: five where every class has more, none where there is nothing to fit."""
    counts = Counter(label for label in labels if label is not None)
    if len(counts) < 2:
        return None
    return " --shots 5" if min(counts.values()) > 5 else ""


def _kept(out: Path) -> str:
    from calm.extract import HeadCache

    if not out.exists():
        return "nothing was written yet"
    with HeadCache(out) as cache:
        return f"{len(cache.done)} of {plural(len(cache), 'clip')} are in {out}"


def _stop(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
