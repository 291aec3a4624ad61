"""``calm fit``: a head cache in, a fitted classifier out, beside the methods that it has to beat."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from calm.cli._files import CACHE, CLASSIFIER, open_cache
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
    cache: Annotated[Path, typer.Argument(help="A head cache, from calm extract.")] = CACHE,
    shots: Annotated[
        int | None, typer.Option("--shots", "-k", min=1, help="Support clips per class; default: all that there are.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another number draws another support set.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The classifier to write, or to replace.")] = CLASSIFIER,
    method: Annotated[str, typer.Option(help="One of {methods}.")] = "calm",
    top_heads: Annotated[
        int | None,
        typer.Option(min=1, help="Use only so many heads: a small file, and fewer layers to run; default: all heads."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A parameter of the method, as NAME=VALUE, in place of its default; may be repeated."
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            help="Whether to fit the published setting, SAV and a linear probe too, and show all on the other clips."
        ),
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Fit a classifier on a support set, and show it beside others on the clips that are not in it.

    Where clips have a train and a test split, support comes from train. Where they have groups, no group stands on both
    sides.
    """
    from calm import draw_episode, make_method
    from calm.classifiers.file import check_writable

    parameters = _parameters(set_ or []) | ({} if top_heads is None else {"top_heads": top_heads})
    classifier = make_method(method, **parameters)
    with open_cache(cache) as opened:
        check_writable(out)
        episode = draw_episode(opened, shots, seed)
        classifier.fit(episode.support, episode.support.labels)
        results = _compare(_beside(classifier, method, bool(parameters), episode if compare else None), episode)
        _warn_of_gaps(opened)
        grouped = bool((opened.groups != "").any())
    classifier.save(out)
    done = _Fitted(classifier, parameters, out, len(episode.support), len(episode.query), results)
    if json:
        print_json(done.facts)
        return
    drawn = "all that there are" if shots is None else f"{shots} of each class, seed {seed}"
    done.tell(drawn + (", groups kept apart" if grouped else ""))


@dataclass(frozen=True)
class _Fitted:
    """What was fitted, and how well it does."""

    classifier: HeadClassifier
    parameters: dict[str, Any]  #: those that were given
    out: Path
    support: int
    query: int
    results: dict[str, Evaluation]  #: by the title of a method

    @property
    def layers(self) -> list[int] | None:
        """The layers that predictions need; None if not known."""
        return None if self.classifier.used_layers_ is None else self.classifier.used_layers_.tolist()

    @property
    def facts(self) -> dict[str, Any]:
        """For machines."""
        return {
            "classifier": str(self.out),
            "classes": self.classifier.classes_.tolist(),
            "support": self.support,
            "query": self.query,
            "accuracy": {name: result.accuracy for name, result in self.results.items()},
            "interval": {name: result.interval for name, result in self.results.items()},
            "heads": len(self.classifier.used_heads_),
            "layers": self.layers,
        }

    def tell(self, drawn: str) -> None:
        """Tell people, and how the support set was drawn."""
        classes = format_count(len(self.classifier.classes_), "class")
        print_line(f"support: {format_count(self.support, 'clip')} of {classes} ({drawn})")
        if self.results:
            print_line(f"accuracy on {format_count(self.query, 'other clip')}:")
            rows = [
                (name, format_percent(result.accuracy), format_interval(result.interval))
                for name, result in self.results.items()
            ]
            print_table(("method", "accuracy", "95 % interval"), rows, numbers=(1, 2))
            if self.parameters:
                print_line("* with " + ", ".join(f"{name}={value!r}" for name, value in self.parameters.items()))
        else:
            print_line("no clips are left to measure accuracy on")
        used, heads = len(self.classifier.used_heads_), self.classifier.n_heads_in_
        if used < heads and self.layers is not None:
            until = f"layers 0 to {max(self.layers)} of {self.classifier.layers_}"
            print_line(f"uses {used} of {format_count(heads, 'head')}; predictions need {until}")
        print_line(f"wrote {self.out}; next: calm predict CLIP" + ("" if self.out == CLASSIFIER else f" -c {self.out}"))


def _parameters(settings: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE, where a value is a number, true, false, null or a word."""
    parameters = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, got {setting!r}")
        try:
            parameters[name.strip()] = json_format.loads(value)
        except (json_format.JSONDecodeError, RecursionError):
            parameters[name.strip()] = value
    return parameters


def _beside(
    classifier: HeadClassifier, method: str, changed: bool, episode: Episode | None
) -> dict[str, HeadClassifier]:
    """Put a fitted classifier beside others of the same support set, by title; by itself where there is no episode."""
    from calm import make_method
    from calm.classifiers.registry import TITLES

    fitted = {f"{TITLES[method]}*" if changed else TITLES[method]: classifier}
    if episode is not None and len(episode.query):
        for name in _COMPARED:
            if TITLES[name] not in fitted:
                fitted[TITLES[name]] = make_method(name).fit(episode.support, episode.support.labels)
    return fitted


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
        print_line(
            f"warning: {missing} of {format_count(len(cache), 'clip')} have no head vectors ({why}){without}", err=True
        )
