"""``calm predict``: predict the labels of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calm.cli._clips import MovedModel, list_clips
from calm.cli._files import CLASSIFIER, is_hdf5, load_classifier, warn_of_missing_vectors
from calm.cli._options import expand_option_groups
from calm.cli._predictions import ClipPrediction, check_out_file, rank_labels, show_predictions
from calm.cli._shared import SOME_CLIPS_FAILED, one_line_errors, print_failures
from calm.extract.models.placement import Placement
from calm.options import option_values

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.extract import Clip


@one_line_errors
@expand_option_groups
def predict(
    clips: Annotated[
        list[Path],
        typer.Argument(help="Audio or video files, folders or manifests; or head caches, which need no model."),
    ],
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
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write all predictions to, with the probability of every class: .csv, .tsv or .jsonl.",
        ),
    ] = None,
    model: MovedModel = None,
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
    If the data name the true labels, they are shown, with the accuracy.
    """
    if out is not None:
        check_out_file(out)
    fitted = load_classifier(classifier)
    if reject is not None:
        _check_can_reject(fitted, classifier, reject)
    caches = [path for path in clips if is_hdf5(path)]
    found_clips = list_clips([path for path in clips if path not in caches], allow_missing=bool(caches))
    predictions: list[ClipPrediction] = []
    failures: dict[str, str] = {}
    for cache in caches:
        predictions += _predict_cache(fitted, cache, reject)
    if found_clips:
        options = {"model": model, "batch_size": batch_size, "progress": not json and len(found_clips) > 8}
        new_predictions, failures = _predict_clips(fitted, found_clips, reject, options | option_values(placement))
        predictions += new_predictions
    classes = [str(label) for label in fitted.classes_]
    show_predictions(
        predictions,
        failures,
        classes,
        top=top,
        out=out,
        as_json=json,
        accuracy_remark="; clips of the support set count too, calm evaluate leaves them out",
    )
    print_failures(failures)
    if failures or not predictions:
        raise typer.Exit(SOME_CLIPS_FAILED if predictions else 1)


def _check_can_reject(fitted: HeadClassifier, file: Path, reject: float) -> None:
    """Raise an error if a classifier cannot compute how typical clips are, and warn if it can reject none."""
    from calm.classifiers.rejection import warn_if_nothing_is_rejected
    from calm.classifiers.typicality import supports_rejection

    if not supports_rejection(fitted):
        raise ValueError(f"{file} does not support --reject: only CALM fitted on at least two clips per class does")
    warn_if_nothing_is_rejected(reject, len(fitted.typical_scores_))


def _predict_clips(
    fitted: HeadClassifier, clips: list[Clip], reject: float | None, options: dict[str, Any]
) -> tuple[list[ClipPrediction], dict[str, str]]:
    """Predict clips from audio or video; also return the reasons of failures."""
    from calm import predict_audio

    result = predict_audio(fitted, clips, **options)
    predictions = _make_predictions(
        fitted,
        names=[clip.name for clip in result.clips],
        labels=[clip.label for clip in result.clips],
        probabilities=result.probabilities,
        typicality=result.typicality,
        notes=result.notes,
        reject=reject,
    )
    return list(predictions), result.failures


def _predict_cache(fitted: HeadClassifier, path: Path, reject: float | None) -> list[ClipPrediction]:
    """Predict all clips of a head cache that have head vectors."""
    from calm import HeadCache
    from calm.classifiers.typicality import supports_rejection

    with HeadCache(path) as cache:
        warn_of_missing_vectors(cache)
        rows = cache[cache.done]
        notes = cache.notes
        predictions = _make_predictions(
            fitted,
            names=rows.names.tolist(),
            labels=rows.labels.tolist(),
            probabilities=fitted.predict_proba(rows),
            typicality=fitted.typicality(rows) if supports_rejection(fitted) else None,
            notes=[notes.get(name, ()) for name in rows.names.tolist()],
            reject=reject,
        )
        return list(predictions)


def _make_predictions(
    fitted: HeadClassifier,
    *,
    names: Sequence[Any],
    labels: Sequence[Any],
    probabilities: Any,
    typicality: Any,
    notes: Sequence[tuple[str, ...]],
    reject: float | None,
) -> Iterator[ClipPrediction]:
    """Yield the prediction for each clip; its label in the data is kept if it is a class of the classifier."""
    classes = {str(label) for label in fitted.classes_}
    for i, (name, label, row, clip_notes) in enumerate(zip(names, labels, probabilities, notes, strict=True)):
        p_value = None if typicality is None else float(typicality[i])
        yield ClipPrediction(
            clip=str(name),
            scores=rank_labels(fitted.classes_, row),
            truth=str(label) if str(label) in classes else None,
            is_rejected=reject is not None and p_value is not None and p_value <= reject,
            typicality=p_value,
            notes=clip_notes,
        )
