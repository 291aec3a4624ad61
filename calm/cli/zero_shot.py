"""``calm zero-shot``: classify clips by prompting a model, without a support set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from calm.cli._clips import list_clips
from calm.cli._options import expand_option_groups
from calm.cli._predictions import ClipPrediction, check_out_file, rank_labels, show_predictions
from calm.cli._shared import SOME_CLIPS_FAILED, one_line_errors, print_failures
from calm.extract.media_options import MediaOptions
from calm.extract.models.placement import LoadOptions, Placement
from calm.extract.prompt import OPTIONS_TEMPLATE, Prompt
from calm.extract.request import Request
from calm.options import copy_option, option, option_values

if TYPE_CHECKING:
    from calm.extract import Clip


@dataclass(frozen=True)
class ZeroShotOptions:
    """Options of zero-shot classification: model, prompt and media."""

    panel: ClassVar[str] = "Prompt"

    model: str = copy_option(Request, "model")
    question: str | None = copy_option(Prompt, "question")
    template: str = option(
        OPTIONS_TEMPLATE, help="Prompt template; {question} and {options} stand for the question and the labels."
    )
    media_options: MediaOptions = field(default_factory=MediaOptions)


@one_line_errors
@expand_option_groups
def zero_shot(
    clips: Annotated[list[Path], typer.Argument(help="Audio or video files, folders or manifests.")],
    options: ZeroShotOptions,
    loading: LoadOptions,
    placement: Placement,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", "-l", help="One of the labels to choose from. By default the labels that the data name."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of labels to show per clip, the most likely first.")] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File to write all predictions to, with the score of every label: .csv, .tsv or .jsonl."
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips per forward pass. By default 8.", rich_help_panel=Placement.panel)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per clip instead of text.")] = False,
) -> None:
    """Classify clips by the likelihood of each label as the model's answer, without a support set.

    The score of a label is the mean log-likelihood of its tokens. If the data name the true labels, they are shown,
    with the accuracy.
    """
    from calm import load_lalm
    from calm import zero_shot as classify

    if out is not None:
        check_out_file(out)
    found_clips = list_clips(clips)
    labels = _choose_labels(found_clips, label or [])
    result = classify(
        load_lalm(options.model, **option_values(loading), **option_values(placement)),
        found_clips,
        labels,
        batch_size=batch_size,
        progress=not json and len(found_clips) > 8,
        template=options.template,
        question=options.question,
        **option_values(options.media_options),
    )
    predictions = [
        ClipPrediction(
            clip.name, rank_labels(labels, scores), truth=clip.label if clip.label in labels else None, notes=notes
        )
        for clip, scores, notes in zip(result.clips, result.scores, result.notes, strict=True)
    ]
    show_predictions(predictions, result.failures, labels, top=top, out=out, as_json=json, score_name="log-likelihood")
    print_failures(result.failures)
    if result.failures:
        raise typer.Exit(SOME_CLIPS_FAILED if predictions else 1)


def _choose_labels(clips: list[Clip], given: list[str]) -> list[str]:
    """Return the given labels, or else those of the clips, sorted."""
    labels = given or sorted({clip.label for clip in clips if clip.label is not None})
    if len(set(labels)) < 2:
        found = f"got {labels[0]!r} only" if labels else "the clips have no labels"
        raise typer.BadParameter(f"at least two labels are needed: {found}", param_hint="'--label'")
    return labels
