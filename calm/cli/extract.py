"""``calm extract``: a folder of clips in, a head cache out."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from calm.cli._options import takes_groups
from calm.cli._shared import SOME_CLIPS_FAILED, STOPPED, one_line_errors, plural, print_failures, print_json, say
from calm.extract.media.clip import Columns
from calm.extract.request import Request
from calm.extract.run_options import RunOptions
from calm.options import values_of

if TYPE_CHECKING:
    from calm.extract import Clip


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
    out: Annotated[Path, typer.Option("--out", "-o", help="The head cache; gone on with if it is there.")] = Path(
        "heads.h5"
    ),
    root: Annotated[Path | None, typer.Option(help="Where a manifest's paths start; its own folder.")] = None,
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
        report = extract_to_cache(clips, out, request, progress=not json, **values_of(how))
    except KeyboardInterrupt:
        say(f"stopped: {_kept(out)}; the same command goes on from there", err=True)
        raise typer.Exit(STOPPED) from None
    if json:
        print_json(
            {
                "cache": str(out),
                "clips": report.clips,
                "done": report.done,
                "new": report.new,
                "failed": report.failed,
                "failures": report.failures,
                "cut": report.cut,
                "silent": report.silent,
            }
        )
    else:
        print_failures(report.failures)
        already = "" if report.new == report.done else f", {report.done - report.new} of them already there"
        say(f"{out}: head vectors of {report.done} of {plural(report.clips, 'clip')}{already}")
        if report.cut:
            say(f"warning: {plural(report.cut, 'clip')} cut at {report.window_seconds:g} s", err=True)
        if report.silent:
            say(f"warning: {plural(report.silent, 'clip')} of digital silence", err=True)
        if report.failures:
            say(f"{plural(report.failed, 'clip')} failed: mend what can be and run this again", err=True)
        elif (shots := _shots([clip.label for clip in clips])) is not None:
            say(f"next: calm fit{shots}" + ("" if str(out) == "heads.h5" else f" {out}"))
    if report.failures:
        raise typer.Exit(SOME_CLIPS_FAILED)


def _describe(data: Path, clips: list[Clip]) -> str:
    classes, groups = ({getattr(clip, c) for clip in clips} - {None} for c in ("label", "group"))
    parts = [plural(len(clips), "clip"), plural(len(classes), "class") if classes else "no labels"]
    if groups:
        parts.append(plural(len(groups), "group"))
    splits = Counter(clip.split for clip in clips if clip.split is not None)
    parts += [f"{split} {n}" for split, n in splits.items()]
    return f"{data}: {', '.join(parts)}"


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
