"""``calm explain``: show which attention heads decided the labels of clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from calm.cli._clips import MovedModel, list_clips
from calm.cli._files import CLASSIFIER, is_hdf5, load_classifier
from calm.cli._options import expand_option_groups
from calm.cli._shared import (
    SOME_CLIPS_FAILED,
    one_line_errors,
    print_failures,
    print_json,
    print_line,
    print_notes,
    print_table,
)
from calm.extract.models.placement import Placement
from calm.options import option_values

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.classifiers.explanation import Explanation

#: Number of clips that are explained: the contribution of every head to every class is held in memory.
_MAX_CLIPS = 100


@one_line_errors
@expand_option_groups
def explain(
    clips: Annotated[list[Path], typer.Argument(help="Audio or video files, folders or manifests; or one head cache.")],
    placement: Placement,
    classifier: Annotated[
        Path, typer.Option("--classifier", "-c", help="Fitted classifier, from calm fit.")
    ] = CLASSIFIER,
    heads: Annotated[int, typer.Option(min=1, help="Number of heads to show per clip, the most important first.")] = 5,
    clip: Annotated[
        list[str] | None,
        typer.Option(help="Name of a clip in the head cache. Can be given several times. By default all clips."),
    ] = None,
    model: MovedModel = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per clip instead of text.")] = False,
) -> None:
    """Show which attention heads decided the label of each clip.

    The importance of a head is its contribution to the margin between the label and the runner-up, as a share of the
    absolute contributions of all heads. It is positive if the head supports the label.
    """
    fitted = load_classifier(classifier)
    failures: dict[str, str] = {}
    if any(is_hdf5(path) for path in clips):
        names, explanation = _explain_cache(fitted, clips, clip)
    else:
        if clip:
            raise typer.BadParameter("it selects clips of a head cache", param_hint="'--clip'")
        names, explanation, failures = _explain_audio(fitted, clips, model, option_values(placement))
    for i, name in enumerate(names):
        facts = _collect_facts(explanation, i, heads)
        print_json({"clip": name} | facts) if json else _print_facts(name, facts)
    if json:
        for name, reason in failures.items():
            print_json({"clip": name, "error": reason})
    print_failures(failures)
    if failures:
        raise typer.Exit(SOME_CLIPS_FAILED)


def _explain_cache(fitted: HeadClassifier, paths: list[Path], names: list[str] | None) -> tuple[list[str], Explanation]:
    """Explain the named clips of a head cache, or all of them."""
    from calm import HeadCache

    if len(paths) != 1:
        raise typer.BadParameter("give one head cache, or only clips", param_hint="'CLIPS'")
    with HeadCache(paths[0]) as cache:
        rows = cache[cache.done]
        if len(rows) == 0:
            raise ValueError(f"no clip of {paths[0]} has head vectors: there is nothing to explain")
        if names:
            missing = sorted({*names} - {*rows.names.tolist()})
            if missing:
                raise ValueError(f"{paths[0]} has no head vectors of a clip {missing[0]}")
            rows = rows[np.isin(rows.names, names)]
        _check_number(len(rows))
        return rows.names.tolist(), fitted.explain(rows)


def _explain_audio(
    fitted: HeadClassifier, paths: list[Path], model: str | None, placement: dict[str, Any]
) -> tuple[list[str], Explanation, dict[str, str]]:
    """Explain clips from audio or video; also return the reasons of failures."""
    from calm import explain_audio

    found_clips = list_clips(paths)
    _check_number(len(found_clips))
    result = explain_audio(fitted, found_clips, model=model, **placement)
    print_notes({clip.name: notes for clip, notes in zip(result.clips, result.notes, strict=True) if notes})
    return [clip.name for clip in result.clips], result.explanation, result.failures


def _check_number(n_clips: int) -> None:
    if n_clips > _MAX_CLIPS:
        raise ValueError(f"{n_clips} clips are too many to explain at once: name at most {_MAX_CLIPS}")


def _collect_facts(explanation: Explanation, i: int, n_heads: int) -> dict[str, Any]:
    """Return the JSON output for one clip, without its name."""
    total = float(np.abs(explanation.importance[i]).sum())
    votes = explanation.votes[i]
    n_agreeing = int((votes == explanation.labels[i]).sum())
    return {
        "label": str(explanation.labels[i]),
        "runner_up": str(explanation.runners_up[i]),
        "heads": len(explanation.head_names),
        "heads_for_label": n_agreeing,
        "top_heads": [
            {
                "head": name,
                "votes_for": None if vote is None else str(vote),
                "importance": importance / total if total > 0 else 0.0,
            }
            for name, vote, importance in explanation.top_heads(i, n_heads)
        ],
    }


def _print_facts(name: str, facts: dict[str, Any]) -> None:
    """Print the explanation of one clip as text."""
    print_line(
        f"{name}: {facts['label']}, not {facts['runner_up']}; "
        f"{facts['heads_for_label']} of {facts['heads']} heads alone favour {facts['label']}"
    )
    rows = [
        (head["head"], head["votes_for"] or "–", f"{100 * head['importance']:+.1f} %") for head in facts["top_heads"]
    ]
    print_table(("  head", "favours", "importance"), [("  " + row[0], *row[1:]) for row in rows], numbers=(2,))
