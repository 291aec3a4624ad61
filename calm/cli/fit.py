"""``calm fit``: fit a classifier on a head cache and compare it with baselines."""

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

#: Short names of the methods that the fitted classifier is compared with.
_BASELINES = ("calm", "calm-published", "sav", "linear-probe")


class FitCommand(TyperCommand):
    """Command that imports the names of the methods, which is slow, only when its help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Insert the names of the methods into the help of ``--method``, and format the help page."""
        from calm.classifiers.registry import METHODS

        for option in self.params:
            if isinstance(option, TyperOption) and option.name == "method":
                option.help = str(option.help).format(methods=", ".join(METHODS))
        super().format_help(ctx, formatter)


@one_line_errors
def fit(
    cache: Annotated[Path, typer.Argument(help="Head cache, from calm extract.")] = CACHE,
    shots: Annotated[
        int | None,
        typer.Option("--shots", "-k", min=1, help="Support clips per class. By default all available clips."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the support set.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="Classifier file to write, or to replace.")] = CLASSIFIER,
    method: Annotated[str, typer.Option(help="One of {methods}.")] = "calm",
    top_heads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of heads to use. Fewer heads make a smaller file and run fewer layers. By default all heads.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a parameter of the method, as NAME=VALUE. Can be given several times."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            help="Also fit published CALM, SAV and a linear probe, and compare all methods on the query clips."
        ),
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Fit a classifier on a support set, and compare it with other methods on query clips.

    If the clips have splits, the support set comes from train and the queries from test. If they have groups, no group
    is in both.
    """
    from calm import draw_episode, make_method
    from calm.classifiers.file import check_writable

    parameters = _parse_parameters(set_ or []) | ({} if top_heads is None else {"top_heads": top_heads})
    classifier = make_method(method, **parameters)
    with open_cache(cache) as opened:
        check_writable(out)
        episode = draw_episode(opened, shots, seed)
        classifier.fit(episode.support, episode.support.labels)
        fitted = _fit_baselines(classifier, method, bool(parameters), episode if compare else None)
        results = _evaluate_all(fitted, episode)
        _warn_missing_vectors(opened)
        has_groups = bool((opened.groups != "").any())
    classifier.save(out)
    report = _FitReport(classifier, parameters, out, len(episode.support), len(episode.query), results)
    if json:
        print_json(report.facts)
        return
    selection = "all available clips" if shots is None else f"{shots} per class, seed {seed}"
    report.print_text(selection + (", groups kept apart" if has_groups else ""))


@dataclass(frozen=True)
class _FitReport:
    """Fitted classifier, and its accuracy next to the baselines."""

    classifier: HeadClassifier
    parameters: dict[str, Any]  #: those that the user set
    out: Path
    support: int  #: number of support clips
    query: int  #: number of query clips
    results: dict[str, Evaluation]  #: by the title of the method; empty without query clips

    @property
    def layers(self) -> list[int] | None:
        """Layers that predictions need; None if unknown."""
        return None if self.classifier.used_layers_ is None else self.classifier.used_layers_.tolist()

    @property
    def facts(self) -> dict[str, Any]:
        """Content of the JSON output."""
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

    def print_text(self, selection: str) -> None:
        """Print the report as text; ``selection`` says how the support set was drawn."""
        classes = format_count(len(self.classifier.classes_), "class")
        print_line(f"support set: {format_count(self.support, 'clip')} of {classes} ({selection})")
        if self.results:
            print_line(f"accuracy on {format_count(self.query, 'query clip')}:")
            rows = [
                (name, format_percent(result.accuracy), format_interval(result.interval))
                for name, result in self.results.items()
            ]
            print_table(("method", "accuracy", "95 % interval"), rows, numbers=(1, 2))
            if self.parameters:
                print_line("* with " + ", ".join(f"{name}={value!r}" for name, value in self.parameters.items()))
        else:
            print_line("no query clips are left to measure accuracy on: use a smaller support set (--shots)")
        used, heads = len(self.classifier.used_heads_), self.classifier.n_heads_in_
        if used < heads and self.layers is not None:
            layers = f"layers 0 to {max(self.layers)} of {self.classifier.layers_}"
            print_line(f"uses {used} of {format_count(heads, 'head')}; predictions need {layers}")
        classifier_option = "" if self.out == CLASSIFIER else f" -c {self.out}"
        print_line(f"wrote {self.out}; next: calm predict CLIP{classifier_option}")


def _parse_parameters(settings: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE settings; a value is JSON (number, true, false, null, ...), or else a string."""
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


def _fit_baselines(
    classifier: HeadClassifier, method: str, has_parameters: bool, episode: Episode | None
) -> dict[str, HeadClassifier]:
    """Fit the baselines on the same support set as the classifier, if there are queries; return all by title."""
    from calm import make_method
    from calm.classifiers.registry import TITLES

    fitted = {f"{TITLES[method]}*" if has_parameters else TITLES[method]: classifier}
    if episode is not None and len(episode.query):
        for name in _BASELINES:
            if TITLES[name] not in fitted:
                fitted[TITLES[name]] = make_method(name).fit(episode.support, episode.support.labels)
    return fitted


def _evaluate_all(classifiers: dict[str, HeadClassifier], episode: Episode) -> dict[str, Evaluation]:
    """Score the predictions of each classifier for the query clips; nothing if there are none."""
    from calm import evaluate

    if len(episode.query) == 0:
        return {}
    labels = episode.query.labels
    return {name: evaluate(labels, classifier.predict(episode.query)) for name, classifier in classifiers.items()}


def _warn_missing_vectors(cache: HeadCache) -> None:
    """Warn about clips without head vectors, which cannot be in the support set or among the queries."""
    n_missing = len(cache) - len(cache.done)
    if n_missing:
        missing_classes = {*cache.labels.tolist()} - {*cache.labels[cache.done].tolist()} - {""}
        classes = f"; classes without any: {', '.join(sorted(missing_classes))}" if missing_classes else ""
        print_line(
            f"warning: {n_missing} of {format_count(len(cache), 'clip')} have no head vectors (failed or not extracted "
            f"yet){classes}",
            err=True,
        )
