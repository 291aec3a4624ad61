"""``calm predict``: predict the labels of clips."""

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
    classifier: Annotated[
        Path, typer.Option("--classifier", "-c", help="Fitted classifier, from calm fit.")
    ] = CLASSIFIER,
    top: Annotated[int, typer.Option(min=1, help="Number of labels to show per clip, the most probable first.")] = 3,
    reject: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Reject clips that seem to belong to no class: their label is shown as none of these. About this "
            "share of the clips that belong to a class is rejected too. Many clips of no class, noise among them, are "
            "not rejected. By default no clip is rejected.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Alias, Hugging Face Hub id or local folder of the model, if it has moved. "
            "By default that of the classifier file.",
            rich_help_panel=Placement.panel,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Clips per forward pass. By default 8 on a CPU, and up to 64 on a GPU.",
            rich_help_panel=Placement.panel,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per clip instead of text.")] = False,
) -> None:
    """Predict the label of each clip, with its probability and the runners-up.

    The classifier file names the model, prompt and precision of the support set; clips are processed in the same way.
    """
    from calm import predict_audio

    fitted = load_classifier(classifier)
    if reject is not None:
        _check_can_reject(fitted, classifier, reject)
    found_clips = _find_clips(clips)
    prediction = predict_audio(
        fitted,
        found_clips,
        model=model,
        batch_size=batch_size,
        progress=not json and len(found_clips) > 8,
        **option_values(placement),
    )
    predictions = list(_make_predictions(prediction, top, reject))
    if json:
        _print_as_json(predictions, prediction.failures)
    elif predictions:
        _print_as_table(predictions)
    print_failures(prediction.failures)
    if prediction.failures:
        raise typer.Exit(SOME_CLIPS_FAILED if prediction.clips else 1)


@dataclass(frozen=True)
class _ClipPrediction:
    """Prediction for one clip."""

    clip: str  #: its name
    ranking: list[tuple[str, float]]  #: labels with their probabilities, the most probable first
    is_rejected: bool  #: whether it seems to belong to no class
    typicality: float | None  #: None if the classifier does not compute it


def _check_can_reject(fitted: HeadClassifier, file: Path, reject: float) -> None:
    """Raise an error if a classifier cannot compute how typical clips are, and warn if it can reject none."""
    from calm.classifiers.rejection import warn_if_nothing_is_rejected
    from calm.inference.prediction import supports_rejection

    if not supports_rejection(fitted):
        raise ValueError(f"{file} does not support --reject: only CALM fitted on at least two clips per class does")
    warn_if_nothing_is_rejected(reject, len(getattr(fitted, "typical_scores_", ())))


def _find_clips(paths: list[Path]) -> list[Clip]:
    """Find the clips of all paths. A missing path becomes a clip that fails, unless all paths are missing."""
    from calm import find_clips
    from calm.extract import Clip

    if not any(path.exists() for path in paths):
        raise FileNotFoundError(f"no such file or folder: {paths[0]}")
    return [
        replace(clip, name=str(clip.audio))
        for path in paths
        for clip in (find_clips(path) if path.exists() else [Clip(path, str(path))])
    ]


def _make_predictions(prediction: AudioPrediction, top: int, reject: float | None) -> Iterator[_ClipPrediction]:
    """Yield the prediction for each clip that could be read, with its ``top`` most probable labels."""
    for i, (clip, probabilities) in enumerate(zip(prediction.clips, prediction.probabilities, strict=True)):
        best = np.argsort(-probabilities)[:top]
        typicality = None if prediction.typicality is None else float(prediction.typicality[i])
        yield _ClipPrediction(
            clip=clip.name,
            ranking=[(str(prediction.classes[c]), float(probabilities[c])) for c in best],
            is_rejected=reject is not None and typicality is not None and typicality <= reject,
            typicality=typicality,
        )


def _print_as_json(predictions: list[_ClipPrediction], failures: dict[str, str]) -> None:
    """Print one JSON object per clip, failed clips last."""
    for prediction in predictions:
        label, probability = prediction.ranking[0]
        result: dict[str, Any] = {"clip": prediction.clip, "label": None if prediction.is_rejected else label}
        typicality = {} if prediction.typicality is None else {"typicality": prediction.typicality}
        print_json(result | {"probability": probability} | typicality | {"ranking": dict(prediction.ranking)})
    for name, reason in failures.items():
        print_json({"clip": name, "error": reason})


def _print_as_table(predictions: list[_ClipPrediction]) -> None:
    """Print a table with one row per clip."""
    rows = []
    for prediction in predictions:
        (label, probability), *others = prediction.ranking
        shown_label = f"none of these ({label}?)" if prediction.is_rejected else label
        runners_up = ", ".join(f"{name} {p:.3f}" for name, p in others)
        rows.append((prediction.clip, shown_label, f"{probability:.3f}", runners_up))
    print_table(("clip", "label", "probability", "runners-up"), rows, numbers=(2,))
