"""``calm evaluate``: a fitted classifier on a head cache."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from calm.cli._shared import interval, one_line_errors, percent, plural, print_json, print_table


@one_line_errors
def evaluate(
    cache: Annotated[Path, typer.Argument(help="A head cache, from calm extract.")] = Path("heads.h5"),
    classifier: Annotated[Path, typer.Option("--classifier", "-c", help="From calm fit.")] = Path("calm.safetensors"),
    everything: Annotated[
        bool, typer.Option("--all", help="Evaluate on every labelled clip, the support set and its groups too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Evaluate a fitted classifier: accuracy with its interval, and a table of classes.

    Support clips, and clips that share a group with one, are left out. Where clips have a test split, only its clips
    are taken.
    """
    from calm import HeadCache, load
    from calm.evaluation.episodes import labelled_rows, rows_apart
    from calm.evaluation.scores import evaluate as compare

    fitted = load(classifier)
    with HeadCache(cache) as opened:
        if everything:
            rows = labelled_rows(opened)
        else:
            rows = rows_apart(opened, fitted.support_names_, fitted.support_groups_)
        left_out = len(opened.done) - len(rows)
        unknown = sorted({*rows.labels.tolist()} - {str(label) for label in fitted.classes_})
        if unknown:
            typer.echo(f"warning: {classifier} does not know {', '.join(unknown)}", err=True)
        result = compare(rows.labels, fitted.predict(rows))
    if json:
        print_json({"classifier": str(classifier), "cache": str(cache), "left_out": left_out} | asdict(result))
        return
    beside = (
        f"; {plural(left_out, 'clip')} left out: support, of its groups, of other splits, or unlabelled"
        if left_out
        else ""
    )
    typer.echo(f"{classifier} on {plural(result.clips, 'clip')} of {cache}{beside}")
    typer.echo(
        f"accuracy {percent(result.accuracy)} ({result.correct} of {result.clips}), "
        f"95 % interval {interval(result.interval)}"
    )
    rows_out = [
        (
            row.label,
            str(row.clips),
            percent(row.precision),
            percent(row.recall) if row.clips else "–",
            percent(row.f1) if row.clips else "–",
            row.taken_for or "",
        )
        for row in result.classes
    ]
    print_table(("class", "clips", "precision", "recall", "F1", "most taken for"), rows_out, numbers=(1, 2, 3, 4))
