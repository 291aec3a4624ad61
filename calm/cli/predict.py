"""``calm predict``: clips in, labels out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from calm.cli._options import takes_groups
from calm.cli._shared import SOME_CLIPS_FAILED, one_line_errors, print_failures, print_json, print_table
from calm.extract.models.placement import Placement
from calm.options import values_of


@one_line_errors
@takes_groups
def predict(
    clips: Annotated[list[Path], typer.Argument(help="Audio or video files, folders or manifests.")],
    placement: Placement,
    classifier: Annotated[Path, typer.Option("--classifier", "-c", help="From calm fit.")] = Path("calm.safetensors"),
    top: Annotated[int, typer.Option(min=1, help="How many labels to name, the most probable first.")] = 3,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Where the model is found now, if it has moved.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Clips a forward pass; as many as fit unless given.", show_default=False)
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Call clips that seem to belong to no class so; of clips that do belong, about this share is lost.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a clip instead of words.")] = False,
) -> None:
    """Predict the label of each clip, with its probability and the runners-up.

    The classifier knows the model, prompt and precision that it was fitted with, and refuses others.
    """
    from calm import find_clips, load, predict_audio
    from calm.extract import Clip

    fitted = load(classifier)
    if not any(path.exists() for path in clips):
        raise FileNotFoundError(f"no such file or folder: {clips[0]}")
    found = [
        replace(clip, name=str(clip.audio))
        for path in clips
        for clip in (find_clips(path) if path.exists() else [Clip(path, str(path))])
    ]
    prediction = predict_audio(
        fitted,
        found,
        model=model,
        batch_size=batch_size,
        progress=not json and len(found) > 8,
        **values_of(placement),
    )
    unknown = np.zeros(len(prediction.clips), dtype=bool)
    if reject is not None:
        if prediction.typicality is None:
            raise ValueError(f"{classifier} cannot reject: only CALM with two clips a class or more can tell")
        unknown = prediction.typicality <= reject
    best_first = np.argsort(-prediction.probabilities, axis=1)[:, :top]
    ranked = [
        [(str(prediction.classes[c]), float(p[c])) for c in best]
        for p, best in zip(prediction.probabilities, best_first, strict=True)
    ]
    if json:
        for i, (clip, ranking) in enumerate(zip(prediction.clips, ranked, strict=True)):
            label, probability = ranking[0]
            told = {"clip": clip.name, "label": None if unknown[i] else label, "probability": probability}
            typical = {} if prediction.typicality is None else {"typicality": float(prediction.typicality[i])}
            print_json(told | typical | {"ranking": dict(ranking)})
        for name, reason in prediction.failures.items():
            print_json({"clip": name, "error": reason})
    elif ranked:
        rows = [
            (
                clip.name,
                f"none of these ({ranking[0][0]}?)" if unknown[i] else ranking[0][0],
                f"{ranking[0][1]:.3f}",
                ", ".join(f"{label} {p:.3f}" for label, p in ranking[1:]),
            )
            for i, (clip, ranking) in enumerate(zip(prediction.clips, ranked, strict=True))
        ]
        print_table(("clip", "label", "probability", "runners-up"), rows, numbers=(2,))
    print_failures(prediction.failures)
    if prediction.failures:
        raise typer.Exit(SOME_CLIPS_FAILED if prediction.clips else 1)
