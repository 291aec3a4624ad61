"""``calm evaluate``: a fitted classifier on a head cache."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from calm.cli._files import CACHE, CLASSIFIER, load_classifier, open_cache
from calm.cli._shared import (
    format_count,
    format_interval,
    format_percent,
    one_line_errors,
    print_json,
    print_line,
    print_table,
)

_REASONS = {
    "support": "of the support set",
    "groups": "of its groups",
    "splits": "of other splits",
    "unlabelled": "unlabelled",
}


@one_line_errors
def evaluate(
    cache: Annotated[Path, typer.Argument(help="A head cache, from calm extract.")] = CACHE,
    classifier: Annotated[Path, typer.Option("--classifier", "-c", help="From calm fit.")] = CLASSIFIER,
    everything: Annotated[
        bool, typer.Option("--all", help="Evaluate on every labelled clip, the support set and its groups too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Evaluate a fitted classifier: accuracy with its interval, and a table of classes.

    Support clips, and clips that share a group with one, are left out. Where clips have a test split, only its clips
    are taken.
    """
    from calm.evaluation.episodes import held_out_rows, labelled_rows
    from calm.evaluation.scores import evaluate as compare

    fitted = load_classifier(classifier)
    with open_cache(cache) as opened:
        if everything:
            rows = labelled_rows(opened)
            left_out = {"unlabelled": len(opened.done) - len(rows)}
        else:
            apart = held_out_rows(
                opened, fitted.support_names_, fitted.support_groups_, digests=fitted.support_digests_
            )
            rows = apart.rows
            left_out = {name: getattr(apart, name) for name in ("support", "groups", "splits", "unlabelled")}
        labels = rows.labels
        _check_labels(labels.tolist(), fitted.classes_.tolist(), classifier, cache)
        result = compare(labels, np.array([str(label) for label in fitted.predict(rows).tolist()], dtype=object))
    total = sum(left_out.values())
    if json:
        told = {"classifier": str(classifier), "cache": str(cache), "left_out": total, "left_out_because": left_out}
        print_json(told | asdict(result))
        return
    reasons = ", ".join(f"{number} {_REASONS[name]}" for name, number in left_out.items() if number)
    beside = f"; {format_count(total, 'clip')} left out: {reasons}" if total else ""
    print_line(f"{classifier} on {format_count(result.clips, 'clip')} of {cache}{beside}")
    print_line(
        f"accuracy {format_percent(result.accuracy)} ({result.correct} of {result.clips}), "
        f"95 % interval {format_interval(result.interval)}"
    )
    rows_out = [
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
    print_table(("class", "clips", "precision", "recall", "F1", "most taken for"), rows_out, numbers=(1, 2, 3, 4))


def _check_labels(labels: list[str], classes: list[Any], classifier: Path, cache: Path) -> None:
    """Warn of labels that a classifier does not know; classes may be numbers, and a cache's labels are text.

    Raises
    ------
    ValueError
        If it knows none of them.
    """
    there, known = set(labels), {str(label) for label in classes}
    unknown = there - known
    if unknown == there:
        raise ValueError(
            f"{classifier} knows {', '.join(sorted(known))}, and clips of {cache} are labelled "
            f"{', '.join(sorted(there))}: there is nothing to compare"
        )
    if unknown:
        print_line(f"warning: {classifier} does not know {', '.join(sorted(unknown))}", err=True)
