"""``calm fit``: a head cache in, a fitted classifier out, with CALM beside SAV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calm.cli._shared import interval, one_line_errors, percent, plural, print_json, print_table

if TYPE_CHECKING:
    from calm.base import HeadClassifier
    from calm.episode import Episode
    from calm.evaluation import Evaluation
    from calm.extract import HeadCache


@one_line_errors
def fit(
    cache: Annotated[Path, typer.Argument(help="A head cache, from calm extract.")] = Path("heads.h5"),
    shots: Annotated[
        int | None, typer.Option("--shots", "-k", min=1, help="Support clips per class; all that there are.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the support set.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The fitted classifier.")] = Path("calm.safetensors"),
    reliability: Annotated[str, typer.Option(help="margin, raw_margin, probability or brier.")] = "margin",
    temperature: Annotated[float, typer.Option(help="τ of the heads' softmax.")] = 0.07,
    weight_temperature: Annotated[float, typer.Option(help="τ_w: large is close to a uniform vote.")] = 1.0,
    shrinkage: Annotated[float, typer.Option(help="α, in clips: pulls reliabilities toward their mean.")] = 5.0,
    top_heads: Annotated[int | None, typer.Option(min=1, help="Keep so many heads for each class.")] = None,
    cross_fit: Annotated[bool, typer.Option(help="Score support clips against prototypes built without them.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Fit CALM on a support set and show it beside SAV on the clips that are not in it.

    Where clips have a train and a test split, support comes from train. Where they have groups, no group stands on both
    sides.
    """
    from calm import CALMClassifier, HeadCache, SAVClassifier, draw_episode

    with HeadCache(cache) as opened:
        episode = draw_episode(opened, shots, seed)
        calm = CALMClassifier(
            reliability=reliability,  # type: ignore[arg-type] # checked by fit
            temperature=temperature,
            weight_temperature=weight_temperature,
            shrinkage=shrinkage,
            top_heads=top_heads,
            cross_fit=cross_fit,
        ).fit(episode.support, episode.support.labels)
        sav = SAVClassifier().fit(episode.support, episode.support.labels)
        results = _compare({"CALM": calm, "SAV": sav}, episode)
        _warn_of_gaps(opened)
        grouped = bool((opened.groups != "").any())
    calm.save(out)
    if json:
        print_json(
            {
                "classifier": str(out),
                "classes": calm.classes_.tolist(),
                "support": len(episode.support),
                "query": len(episode.query),
                "accuracy": {name: result.accuracy for name, result in results.items()},
                "interval": {name: result.interval for name, result in results.items()},
            }
        )
        return
    drawn = "all that there are" if shots is None else f"{shots} of each class, seed {seed}"
    drawn += ", groups kept apart" if grouped else ""
    typer.echo(f"support: {plural(len(episode.support), 'clip')} of {plural(len(calm.classes_), 'class')} ({drawn})")
    if results:
        typer.echo(f"accuracy on {plural(len(episode.query), 'other clip')}:")
        rows = [(name, percent(result.accuracy), interval(result.interval)) for name, result in results.items()]
        print_table(("method", "accuracy", "95 % interval"), rows, numbers=(1, 2))
    else:
        typer.echo("no clips are left to compare CALM and SAV on")
    typer.echo(f"wrote {out}; next: calm predict CLIP" + ("" if str(out) == "calm.safetensors" else f" -c {out}"))


def _compare(classifiers: dict[str, HeadClassifier], episode: Episode) -> dict[str, Evaluation]:
    from calm import evaluate

    if len(episode.query) == 0:
        return {}
    truth = episode.query.labels
    return {name: evaluate(truth, classifier.predict(episode.query)) for name, classifier in classifiers.items()}


def _warn_of_gaps(cache: HeadCache) -> None:
    """Say what the support set could not be drawn from."""
    missing = len(cache) - len(cache.done)
    if missing:
        never = {*cache.labels.tolist()} - {*cache.labels[cache.done].tolist()} - {""}
        without = f", and no clip of {', '.join(sorted(never))} is there" if never else ""
        why = "failed or not extracted yet"
        typer.echo(
            f"warning: {missing} of {plural(len(cache), 'clip')} have no head vectors ({why}){without}", err=True
        )
