"""``calm predict``: clips in, labels out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from calm.cli._files import CLASSIFIER, load_classifier
from calm.cli._options import expand_option_groups
from calm.cli._shared import SOME_CLIPS_FAILED, one_line_errors, print_failures, print_json, print_table
from calm.extract.models.placement import Placement
from calm.options import option_values

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.extract import Clip
    from calm.inference.prediction import AudioPrediction


@one_line_errors
@expand_option_groups
def predict(
    clips: Annotated[list[Path], typer.Argument(help="Audio or video files, folders or manifests.")],
    placement: Placement,
    classifier: Annotated[Path, typer.Option("--classifier", "-c", help="From calm fit.")] = CLASSIFIER,
    top: Annotated[int, typer.Option(min=1, help="How many labels to name, the most probable first.")] = 3,
    reject: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Say none of these of clips that seem to belong to no class. About this share of the clips that do "
            "belong is lost; default: every clip gets a label.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Where the model is found now; default: where the classifier's support clips went through it.",
            rich_help_panel=Placement.panel,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Clips a forward pass; default: as many as fit.", rich_help_panel=Placement.panel),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a clip instead of words.")] = False,
) -> None:
    """Predict the label of each clip, with its probability and the runners-up.

    The classifier knows the model, prompt and precision that it was fitted with, and refuses others.
    """
    from calm import predict_audio

    fitted = load_classifier(classifier)
    if reject is not None:
        _check_can_reject(fitted, classifier)
    found = _find(clips)
    prediction = predict_audio(
        fitted,
        found,
        model=model,
        batch_size=batch_size,
        progress=not json and len(found) > 8,
        **option_values(placement),
    )
    verdicts = list(_verdicts(prediction, top, reject))
    if json:
        _print_as_json(verdicts, prediction.failures)
    elif verdicts:
        _print_as_table(verdicts)
    print_failures(prediction.failures)
    if prediction.failures:
        raise typer.Exit(SOME_CLIPS_FAILED if prediction.clips else 1)


@dataclass(frozen=True)
class _Verdict:
    """What is said of one clip."""

    clip: str
    ranking: list[tuple[str, float]]  #: labels with their probabilities, the most probable first
    unknown: bool  #: whether it seems to belong to no class
    typicality: float | None


def _check_can_reject(fitted: HeadClassifier, file: Path) -> None:
    from calm.inference.prediction import supports_rejection

    if not supports_rejection(fitted):
        raise ValueError(f"{file} cannot reject: only CALM with two clips a class or more can tell")


def _find(paths: list[Path]) -> list[Clip]:
    """Find the clips of all paths; one that is not there fails as a clip, unless there are no others."""
    from calm import find_clips
    from calm.extract import Clip

    if not any(path.exists() for path in paths):
        raise FileNotFoundError(f"no such file or folder: {paths[0]}")
    return [
        replace(clip, name=str(clip.audio))
        for path in paths
        for clip in (find_clips(path) if path.exists() else [Clip(path, str(path))])
    ]


def _verdicts(prediction: AudioPrediction, top: int, reject: float | None) -> Iterator[_Verdict]:
    for i, (clip, probabilities) in enumerate(zip(prediction.clips, prediction.probabilities, strict=True)):
        best = np.argsort(-probabilities)[:top]
        typicality = None if prediction.typicality is None else float(prediction.typicality[i])
        yield _Verdict(
            clip=clip.name,
            ranking=[(str(prediction.classes[c]), float(probabilities[c])) for c in best],
            unknown=reject is not None and typicality is not None and typicality <= reject,
            typicality=typicality,
        )


def _print_as_json(verdicts: list[_Verdict], failures: dict[str, str]) -> None:
    for verdict in verdicts:
        label, probability = verdict.ranking[0]
        told: dict[str, Any] = {"clip": verdict.clip, "label": None if verdict.unknown else label}
        typical = {} if verdict.typicality is None else {"typicality": verdict.typicality}
        print_json(told | {"probability": probability} | typical | {"ranking": dict(verdict.ranking)})
    for name, reason in failures.items():
        print_json({"clip": name, "error": reason})


def _print_as_table(verdicts: list[_Verdict]) -> None:
    rows = []
    for verdict in verdicts:
        (label, probability), *others = verdict.ranking
        shown = f"none of these ({label}?)" if verdict.unknown else label
        rows.append((verdict.clip, shown, f"{probability:.3f}", ", ".join(f"{name} {p:.3f}" for name, p in others)))
    print_table(("clip", "label", "probability", "runners-up"), rows, numbers=(2,))
