"""``calm fit``: a head cache in, a fitted classifier out, beside the methods that it has to beat."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from calm.cli._shared import interval, one_line_errors, percent, plural, print_json, print_table, say

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.evaluation.episodes import Episode
    from calm.evaluation.scores import Evaluation
    from calm.extract import HeadCache

#: What a fit is shown beside.
_COMPARED = ("calm", "calm-published", "sav", "linear-probe")


class FitCommand(TyperCommand):
    """The command, whose help names the methods that there are: importing them takes long, so only when it is asked."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from calm.classifiers.registry import METHODS

        for option in self.params:
            if isinstance(option, TyperOption) and option.name == "method":
                option.help = str(option.help).format(methods=", ".join(METHODS))
        super().format_help(ctx, formatter)


@one_line_errors
def fit(
    cache: Annotated[Path, typer.Argument(help="A head cache, from calm extract.")] = Path("heads.h5"),
    shots: Annotated[
        int | None, typer.Option("--shots", "-k", min=1, help="Support clips per class; all that there are.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the support set.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The fitted classifier.")] = Path("calm.safetensors"),
    method: Annotated[str, typer.Option(help="One of {methods}.")] = "calm",
    top_heads: Annotated[
        int | None, typer.Option(min=1, help="Use only so many heads: a small file, and fewer layers to run.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A parameter of the method, as NAME=VALUE; may be repeated.")
    ] = None,
    compare: Annotated[
        bool, typer.Option(help="Show it beside the published setting, SAV and a linear probe, on the other clips.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Fit a classifier on a support set, and show it beside others on the clips that are not in it.

    Where clips have a train and a test split, support comes from train. Where they have groups, no group stands on both
    sides.
    """
    from calm import HeadCache, draw_episode, make_method
    from calm.classifiers.registry import TITLES

    parameters = _parameters(set_ or []) | ({} if top_heads is None else {"top_heads": top_heads})
    classifier = make_method(method, **parameters)
    with HeadCache(cache) as opened:
        episode = draw_episode(opened, shots, seed)
        classifier.fit(episode.support, episode.support.labels)
        changed = f"{TITLES[method]}*" if parameters else TITLES[method]
        fitted = {changed: classifier}
        if compare and len(episode.query):
            for name in _COMPARED:
                if TITLES[name] not in fitted:
                    fitted[TITLES[name]] = make_method(name).fit(episode.support, episode.support.labels)
        results = _compare(fitted, episode)
        _warn_of_gaps(opened)
        grouped = bool((opened.groups != "").any())
    classifier.save(out)
    layers = _layers(classifier)
    if json:
        print_json(
            {
                "classifier": str(out),
                "classes": classifier.classes_.tolist(),
                "support": len(episode.support),
                "query": len(episode.query),
                "accuracy": {name: result.accuracy for name, result in results.items()},
                "interval": {name: result.interval for name, result in results.items()},
                "heads": len(classifier.used_heads_),
                "layers": layers,
            }
        )
        return
    drawn = "all that there are" if shots is None else f"{shots} of each class, seed {seed}"
    drawn += ", groups kept apart" if grouped else ""
    support = plural(len(episode.support), "clip")
    say(f"support: {support} of {plural(len(classifier.classes_), 'class')} ({drawn})")
    if results:
        say(f"accuracy on {plural(len(episode.query), 'other clip')}:")
        rows = [(name, percent(result.accuracy), interval(result.interval)) for name, result in results.items()]
        print_table(("method", "accuracy", "95 % interval"), rows, numbers=(1, 2))
        if parameters:
            say("* with " + ", ".join(f"{name}={value!r}" for name, value in parameters.items()))
    else:
        say("no clips are left to measure accuracy on")
    if len(classifier.used_heads_) < classifier.n_heads_in_ and layers is not None:
        used = f"{len(classifier.used_heads_)} of {plural(classifier.n_heads_in_, 'head')}"
        say(f"uses {used}; predictions need layers 0 to {max(layers)} of {classifier.layers_}")
    say(f"wrote {out}; next: calm predict CLIP" + ("" if str(out) == "calm.safetensors" else f" -c {out}"))


def _parameters(settings: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE, where a value is a number, true, false, null or a word."""
    parameters = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, got {setting!r}")
        try:
            parameters[name.strip()] = json_format.loads(value)
        except json_format.JSONDecodeError:
            parameters[name.strip()] = value
    return parameters


def _layers(classifier: HeadClassifier) -> list[int] | None:
    return None if classifier.used_layers_ is None else classifier.used_layers_.tolist()


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
        say(f"warning: {missing} of {plural(len(cache), 'clip')} have no head vectors ({why}){without}", err=True)
