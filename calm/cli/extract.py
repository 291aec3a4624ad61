"""``calm extract``: a folder of clips in, a head cache out."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from calm.cli._shared import SOME_CLIPS_FAILED, STOPPED, one_line_errors, plural, print_failures, print_json

if TYPE_CHECKING:
    from calm.extract import Clip


@one_line_errors
def extract(
    data: Annotated[
        Path,
        typer.Argument(
            help="A folder with one sub-folder a class, an AudioFolder with metadata.csv or .jsonl, a CSV, TSV, JSON "
            "or JSONL manifest, or one audio or video file."
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="An alias (see calm models), a hub id, or a local folder.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The head cache; gone on with if it is there.")] = Path(
        "heads.h5"
    ),
    question: Annotated[str | None, typer.Option(help="Asked of clips that have no question of their own.")] = None,
    template: Annotated[str, typer.Option(help="The text beside the sound, with {question} and {options}.")] = (
        "{question}"
    ),
    modality: Annotated[str, typer.Option(help="What of a clip the model is given: audio, visual or audio-visual.")] = (
        "audio"
    ),
    fps: Annotated[
        float | None, typer.Option(help="Frames of each second of a video; 2 unless given.", show_default=False)
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(help="Height × width of a frame, larger ones are made smaller; 448 × 448.", show_default=False),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Average the last so many prompt tokens.")] = 1,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Cut clips there; the model's window unless given.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16; float32 on a CPU, bfloat16 on a GPU."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps …; the first accelerator.")] = None,
    device_map: Annotated[str | None, typer.Option(help="auto: spread the model over several devices.")] = None,
    attention: Annotated[
        str | None, typer.Option(help="How attention is computed: sdpa, eager, flash_attention_2 …", show_default=False)
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(help="int8 or nf4: weights in 8 or 4 bits, which takes less memory.", show_default=False),
    ] = None,
    storage: Annotated[str, typer.Option(help="float16 or float32, of the cache.")] = "float16",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips a forward pass; as many as fit unless given.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads that decode, and compute features, ahead of the model; by the number of cores.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first clip that fails.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop clips from the cache that are gone from the data.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Where a manifest's paths start; its own folder.")] = None,
    audio_column: Annotated[str | None, typer.Option(help="Manifest column of audio files.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Manifest column of labels.")] = None,
    split_column: Annotated[str | None, typer.Option(help="Manifest column of splits (train, test).")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Manifest column of groups (recording, speaker, fold), kept apart.")
    ] = None,
    question_column: Annotated[str | None, typer.Option(help="Manifest column of questions.")] = None,
    options_column: Annotated[str | None, typer.Option(help="Manifest column of answer options.")] = None,
    video_column: Annotated[str | None, typer.Option(help="Manifest column of videos, for their pictures.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Extract the head vectors of every clip into a cache.

    Stop it, kill it, run it again: it goes on where it was. A clip that cannot be read is marked as failed with its
    reason, and tried again by the next run.
    """
    from calm.extract import Columns, Request, extract_to_cache, find_clips

    columns = Columns(
        audio_column, label_column, split_column, group_column, question_column, options_column, video_column
    )
    clips = find_clips(data, columns=columns, root=root)
    request = Request(
        model=model,
        revision=revision,
        dtype=dtype,
        quantize=quantize,
        template=template,
        question=question,
        tokens=tokens,
        max_seconds=max_seconds,
        modality=modality,
        fps=fps,
        max_pixels=max_pixels,
    )
    if not json:
        typer.echo(_describe(data, clips))
    signal.signal(signal.SIGTERM, _stop)  # what a cluster sends first
    try:
        report = extract_to_cache(
            clips,
            out,
            request,
            storage=storage,
            device=device,
            device_map=device_map,
            attention=attention,
            trust_remote_code=trust_remote_code,
            batch_size=batch_size,
            workers=workers,
            strict=strict,
            prune=prune,
            progress=not json,
        )
    except KeyboardInterrupt:
        typer.echo(f"stopped: {_kept(out)}; the same command goes on from there", err=True)
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
        typer.echo(f"{out}: head vectors of {report.done} of {plural(report.clips, 'clip')}{already}")
        if report.cut:
            typer.echo(f"warning: {plural(report.cut, 'clip')} cut at {report.window_seconds:g} s", err=True)
        if report.silent:
            typer.echo(f"warning: {plural(report.silent, 'clip')} of digital silence", err=True)
        if report.failures:
            typer.echo(f"{plural(report.failed, 'clip')} failed: mend what can be and run this again", err=True)
        elif (shots := _shots([clip.label for clip in clips])) is not None:
            typer.echo(f"next: calm fit{shots}" + ("" if str(out) == "heads.h5" else f" {out}"))
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
