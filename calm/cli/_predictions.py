"""Predictions of clips as a table, as JSON and as files, for the commands that label clips."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from calm.atomic_file import check_writable_folder, create_atomic_file
from calm.classifiers.rejection import NO_CLASS
from calm.cli._shared import format_count, format_percent, print_json, print_line, print_table, shorten

#: First columns of a file of predictions; one column per class follows.
_COLUMNS = ("clip", "label", "probability", "truth", "typicality", "notes", "error")

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
#: Suffixes of files that predictions can be written to.
SUFFIXES = (*_DELIMITERS, ".jsonl")

#: Maximum length in bytes of the first line of a file of predictions. It names all classes.
_MAX_FIRST_LINE = 2**24


@dataclass(frozen=True)
class ClipPrediction:
    """Prediction for one clip."""

    clip: str  #: its name
    scores: Mapping[str, float]  #: probability, or another score, of each label; the best label first
    truth: str | None = None  #: its label in the data; None if that is unknown or no label of the classifier
    is_rejected: bool = False  #: whether it seems to belong to no class
    typicality: float | None = None  #: None if the classifier does not compute it
    notes: tuple[str, ...] = ()  #: what to know about the clip, such as that it was cut

    @property
    def best(self) -> str:
        """Label with the largest score."""
        return next(iter(self.scores))

    @property
    def label(self) -> str | None:
        """Predicted label; None if the clip is rejected."""
        return None if self.is_rejected else self.best


def rank_labels(classes: Iterable[Any], scores: NDArray[np.floating]) -> dict[str, float]:
    """Return the score of each label, the best label first."""
    labels = [str(label) for label in classes]
    return {labels[c]: float(scores[c]) for c in np.argsort(-scores, kind="stable")}


def check_out_file(path: Path) -> None:
    """Check, before any long work, that predictions can be written to a file.

    Raises
    ------
    typer.BadParameter
        If the suffix is unknown.
    FileExistsError
        If the file exists, is not empty and does not contain predictions.
    OSError
        If no file can be created in its folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"{path}: predictions are written as {', '.join(SUFFIXES)}", param_hint="'--out'")
    check_writable_folder(path)
    if path.exists() and not (path.is_file() and _contains_predictions(path)):
        raise FileExistsError(f"{path} exists and does not contain predictions: remove it, or write to another file")


def show_predictions(
    predictions: Sequence[ClipPrediction],
    failures: Mapping[str, str],
    classes: Sequence[str],
    *,
    top: int,
    out: Path | None,
    as_json: bool,
    score_name: str = "probability",
    accuracy_remark: str = "",
) -> None:
    """Print predictions as JSON, or else write them to ``out`` and print a summary, or else print them as a table."""
    if out is not None:
        write_predictions(out, predictions, failures, classes, score_name=score_name)
    if as_json:
        for content in _make_json_objects(predictions, failures, top, score_name):
            print_json(content)
        return
    if predictions:
        if out is None:
            _print_table(predictions, top, score_name)
        else:
            print_line(f"labels: {_describe_labels(predictions)}")
        _print_accuracy(predictions, accuracy_remark)
    if out is not None:
        print_line(f"wrote {out}: {format_count(len(predictions) + len(failures), 'clip')}")


def _make_json_objects(
    predictions: Iterable[ClipPrediction], failures: Mapping[str, str], top: int | None, score_name: str
) -> Iterator[dict[str, Any]]:
    """Yield the JSON object of each clip, with all labels or the ``top`` best ones, failed clips last."""
    for prediction in predictions:
        content: dict[str, Any] = {"clip": prediction.clip, "label": prediction.label}
        content[score_name] = prediction.scores[prediction.best]
        if prediction.typicality is not None:
            content["typicality"] = prediction.typicality
        if prediction.truth is not None:
            content["truth"] = prediction.truth
        content["notes"] = prediction.notes
        yield content | {"ranking": dict(list(prediction.scores.items())[:top])}
    for name, reason in failures.items():
        yield {"clip": name, "error": reason}


def _print_table(predictions: Sequence[ClipPrediction], top: int, score_name: str) -> None:
    """Print a table with one row per clip. Columns that are empty for all clips are left out."""
    rows = []
    for prediction in predictions:
        (label, score), *others = [(shorten(name), score) for name, score in list(prediction.scores.items())[:top]]
        shown_label = f"{NO_CLASS} ({label}?)" if prediction.is_rejected else label
        runners_up = ", ".join(f"{name} {other:.3f}" for name, other in others)
        notes = "; ".join(prediction.notes)
        rows.append((prediction.clip, shown_label, prediction.truth or "", f"{score:.3f}", runners_up, notes))
    header = ("clip", "label", "truth", score_name, "runners-up", "notes")
    shown = [i for i, name in enumerate(header) if (name != "truth" and name != "notes") or any(row[i] for row in rows)]
    print_table(
        [header[i] for i in shown],
        [[row[i] for i in shown] for row in rows],
        numbers=(shown.index(3),),
        whole=(0, shown.index(4)),
    )


def _print_accuracy(predictions: Sequence[ClipPrediction], remark: str) -> None:
    """Print the accuracy on the clips whose label is known, if there are any."""
    known = [prediction for prediction in predictions if prediction.truth is not None]
    if known:
        right = sum(prediction.label == prediction.truth for prediction in known)
        print_line(
            f"accuracy {format_percent(right / len(known))} "
            f"({right} of {format_count(len(known), 'labelled clip')}){remark}"
        )


def _contains_predictions(path: Path) -> bool:
    """Return whether a file is empty or has the first line of a file of predictions."""
    with path.open("rb") as file:
        first_line = file.readline(_MAX_FIRST_LINE)
    try:
        line = first_line.decode()
    except UnicodeDecodeError:
        return False
    delimiter = _DELIMITERS.get(path.suffix.lower())
    return not line or (_is_json_object(line) if delimiter is None else _is_header(line, delimiter))


def _is_header(line: str, delimiter: str) -> bool:
    """Return whether a line is the header of a table of predictions.

    A manifest may also have the first columns ``clip`` and ``label``, so all fixed columns are compared.
    """
    names = line.rstrip("\n").split(delimiter)[: len(_COLUMNS)]
    return [*names[:2], *names[3:]] == [*_COLUMNS[:2], *_COLUMNS[3:]]  # the third column is the name of the score


def _is_json_object(line: str) -> bool:
    """Return whether a line is the JSON object of a clip, as :func:`_make_json_objects` makes it."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and [*content][:1] == ["clip"] and [*content][-1] in ("ranking", "error")


def write_predictions(
    path: Path,
    predictions: Sequence[ClipPrediction],
    failures: Mapping[str, str],
    classes: Sequence[str],
    *,
    score_name: str = "probability",
) -> None:
    """Write all predictions to a CSV, TSV or JSONL file, failed clips last; the file is complete or not written.

    A table has the columns clip, label, probability, truth, typicality, notes, error, and one column of probabilities
    per class. A rejected clip has an empty label.
    """
    with create_atomic_file(path) as temporary:
        text = io.TextIOWrapper(temporary.file, encoding="utf-8", newline="", write_through=True)
        delimiter = _DELIMITERS.get(path.suffix.lower())
        if delimiter is None:
            for content in _make_json_objects(predictions, failures, None, score_name):
                text.write(json.dumps(content) + "\n")
        else:
            writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
            writer.writerows(_make_rows(predictions, failures, classes, score_name))
        text.detach()
        temporary.replace(path)


def _make_rows(
    predictions: Iterable[ClipPrediction], failures: Mapping[str, str], classes: Sequence[str], score_name: str
) -> Iterator[list[Any]]:
    """Yield the header and one row per clip."""
    yield [
        *(score_name if name == "probability" else name for name in _COLUMNS),
        *(f"{score_name} of {label}" for label in classes),
    ]
    for prediction in predictions:
        fields = [prediction.clip, prediction.label, prediction.scores[prediction.best], prediction.truth]
        fields += [prediction.typicality, "; ".join(prediction.notes), None]
        scores = [prediction.scores[label] for label in classes]
        yield [f"{field:.6g}" if isinstance(field, float) else field for field in [*fields, *scores]]
    for name, reason in failures.items():
        yield [name, *[None] * (len(_COLUMNS) - 2), reason, *[None] * len(classes)]


def _describe_labels(predictions: Sequence[ClipPrediction]) -> str:
    """Describe how many clips got which label, the most frequent label first."""
    counts = Counter(NO_CLASS if prediction.label is None else prediction.label for prediction in predictions)
    return ", ".join(f"{shorten(label)} {n}" for label, n in counts.most_common())
