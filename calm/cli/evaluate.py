"""``calm evaluate``: score a fitted classifier on a head cache."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from calm.cli._files import CACHE, CLASSIFIER, load_classifier, open_cache
from calm.cli._predictions import ClipPrediction, check_out_file, rank_labels, write_predictions
from calm.cli._shared import (
    format_count,
    format_interval,
    format_percent,
    one_line_errors,
    print_json,
    print_line,
    print_table,
)

if TYPE_CHECKING:
    from calm.evaluation.scores import Evaluation

#: Number of mistakes that are printed.
_SHOWN_MISTAKES = 20
#: Maximum number of classes for which the confusion matrix is printed.
_MOST_CLASSES = 12
#: Why clips are left out, by the attributes of HeldOutRows.
_REASONS = {
    "support": "in the support set",
    "groups": "in its groups",
    "splits": "in other splits",
    "unlabelled": "without a label",
}


@one_line_errors
def evaluate(
    cache: Annotated[Path, typer.Argument(help="Head cache, from calm extract.")] = CACHE,
    classifier: Annotated[
        Path, typer.Option("--classifier", "-c", help="Fitted classifier, from calm fit.")
    ] = CLASSIFIER,
    everything: Annotated[
        bool, typer.Option("--all", help="Evaluate on all labelled clips, including the support set and its groups.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File to write the predictions to, as calm predict writes them: .csv, .tsv or .jsonl.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Evaluate a fitted classifier: accuracy with a confidence interval, scores of each class, and mistakes.

    Support clips, and clips that share a group with a support clip, are left out. If the clips have a test split, only
    its clips are used.
    """
    from calm.evaluation.episodes import held_out_rows, labelled_rows
    from calm.evaluation.scores import evaluate as score_predictions

    if out is not None:
        check_out_file(out)
    fitted = load_classifier(classifier)
    with open_cache(cache) as opened:
        if everything:
            rows = labelled_rows(opened)
            left_out = {"unlabelled": len(opened.done) - len(rows)}
        else:
            held_out = held_out_rows(
                opened, fitted.support_names_, fitted.support_groups_, digests=fitted.support_digests_
            )
            rows = held_out.rows
            left_out = {name: getattr(held_out, name) for name in _REASONS}
        labels = rows.labels
        _check_labels(labels.tolist(), fitted.classes_.tolist(), classifier, cache)
        predictions = [
            ClipPrediction(name, rank_labels(fitted.classes_, probabilities), truth=label)
            for name, label, probabilities in zip(
                rows.names.tolist(), labels.tolist(), fitted.predict_proba(rows), strict=True
            )
        ]
    result = score_predictions(labels, np.array([prediction.best for prediction in predictions], dtype=object))
    mistakes = _find_mistakes(predictions)
    if out is not None:
        write_predictions(out, predictions, {}, [str(label) for label in fitted.classes_])
    if json:
        total = sum(left_out.values())
        header = {"classifier": str(classifier), "cache": str(cache), "left_out": total, "left_out_because": left_out}
        print_json(header | _make_facts(result, mistakes))
        return
    _print_evaluation(result, left_out, classifier, cache)
    _print_confusions(result)
    _print_mistakes(mistakes)
    if out is not None:
        print_line(f"wrote {out}")


def _find_mistakes(predictions: list[ClipPrediction]) -> list[ClipPrediction]:
    """Return the wrong predictions, the most probable first."""
    wrong = [prediction for prediction in predictions if prediction.label != prediction.truth]
    return sorted(wrong, key=lambda prediction: -prediction.scores[prediction.best])


def _make_facts(result: Evaluation, mistakes: list[ClipPrediction]) -> dict[str, Any]:
    """Return scores, confusion matrix and mistakes for the JSON output."""
    confusions = {"labels": [row.label for row in result.classes], "matrix": result.confusion_matrix}
    listed = [
        {"clip": one.clip, "truth": one.truth, "label": one.label, "probability": one.scores[one.best]}
        for one in mistakes
    ]
    return asdict(result) | {"confusion_matrix": confusions, "mistakes": listed}


def _print_confusions(result: Evaluation) -> None:
    """Print the confusion matrix, if there are mistakes and few enough classes for a table."""
    if result.correct == result.clips or len(result.classes) > _MOST_CLASSES:
        return
    numbers = [str(number) for number in range(1, len(result.classes) + 1)]
    rows = [
        (f"{number} {row.label}", *(str(n) if n else "·" for n in counts))
        for number, row, counts in zip(numbers, result.classes, result.confusion_matrix, strict=True)
    ]
    print_line("confusion matrix, clips by true class (rows) and predicted class (columns, numbered as the rows):")
    print_table(("", *numbers), rows, numbers=range(1, len(numbers) + 1))


def _print_mistakes(mistakes: list[ClipPrediction]) -> None:
    """Print the mistakes with the largest probabilities."""
    if not mistakes:
        return
    shown = mistakes[:_SHOWN_MISTAKES]
    more = f" (the first {len(shown)}; --out or --json gives all)" if len(shown) < len(mistakes) else ""
    print_line(f"{format_count(len(mistakes), 'mistake')}, most confident first{more}:")
    rows = [(one.clip, one.best, one.truth or "", format_percent(one.scores[one.best])) for one in shown]
    print_table(("clip", "label", "truth", "probability"), rows, numbers=(3,), whole=(0,))


def _print_evaluation(result: Evaluation, left_out: dict[str, int], classifier: Path, cache: Path) -> None:
    """Print the accuracy, the numbers of clips that are left out, and a table of the classes."""
    total = sum(left_out.values())
    reasons = ", ".join(f"{n} {_REASONS[name]}" for name, n in left_out.items() if n)
    left_out_text = f"; {format_count(total, 'clip')} left out: {reasons}" if total else ""
    print_line(f"{classifier} on {format_count(result.clips, 'clip')} of {cache}{left_out_text}")
    print_line(
        f"accuracy {format_percent(result.accuracy)} ({result.correct} of {result.clips}), "
        f"95 % confidence interval {format_interval(result.interval)}"
    )
    rows = [
        (
            row.label,
            str(row.clips),
            format_percent(row.precision),
            format_percent(row.recall) if row.clips else "–",
            format_percent(row.f1) if row.clips else "–",
            row.taken_for or "",
        )
        for row in result.classes
    ]
    print_table(("class", "clips", "precision", "recall", "F1", "most confused with"), rows, numbers=(1, 2, 3, 4))


def _check_labels(labels: list[str], classes: list[Any], classifier: Path, cache: Path) -> None:
    """Warn about labels that are not classes of the classifier. Labels in a cache are text; classes may be numbers.

    Raises
    ------
    ValueError
        If no label is a class of the classifier.
    """
    cache_labels, class_labels = set(labels), {str(label) for label in classes}
    unknown = cache_labels - class_labels
    if unknown == cache_labels:
        raise ValueError(
            f"no label in {cache} is a class of {classifier}: the labels are {', '.join(sorted(cache_labels))}, the "
            f"classes are {', '.join(sorted(class_labels))}"
        )
    if unknown:
        unknown_labels = ", ".join(sorted(unknown))
        print_line(
            f"warning: labels without a class in {classifier}: {unknown_labels} (their clips count as errors)", err=True
        )
