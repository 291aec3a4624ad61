"""``calm fit``: fit a classifier on a head cache and compare it with baselines."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from calm.cli._files import CACHE, CLASSIFIER, open_cache, warn_of_missing_vectors
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
    """Command that imports the methods, which is slow, only when its help is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Insert the names of the methods into the help of ``--method``, and add the parameters of each method."""
        from calm.classifiers.registry import METHODS

        for option in self.params:
            if isinstance(option, TyperOption) and option.name == "method":
                option.help = str(option.help).format(methods=", ".join(METHODS))
        super().format_help(ctx, formatter)  # prints the page
        sections = ctx.make_formatter()
        for title, rows in _describe_methods():
            with sections.section(title):
                sections.write_dl(rows)
        for line in sections.getvalue().splitlines():
            print_line(line)


def _describe_methods() -> list[tuple[str, list[tuple[str, str]]]]:
    """Describe the parameters of each method for the help page, as titles and rows of two columns.

    A method of the same class as an earlier one has only those parameters whose defaults differ.
    """
    from calm.classifiers.parameter_help import describe_parameters
    from calm.classifiers.registry import METHODS

    sections, first_of_class = [], dict[type, tuple[str, dict[str, Any]]]()
    for method, classifier in METHODS.items():
        parameters = describe_parameters(classifier)
        earlier, defaults = first_of_class.setdefault(
            type(classifier), (method, {one.name: one.default for one in parameters})
        )
        if earlier == method:
            title = f"Parameters of --method {method}, for --set NAME=VALUE (with their defaults)"
            rows = [
                (f"{one.name}={_format_value(one.default)}", f"{one.values}. {one.description}") for one in parameters
            ]
        else:
            title = f"Parameters of --method {method}: those of {earlier}, with other defaults"
            changed = [one for one in parameters if one.default != defaults[one.name]]
            rows = [(f"{one.name}={_format_value(one.default)}", "") for one in changed]
        if rows:
            sections.append((title, rows))
    return sections


def _format_value(value: Any) -> str:
    """Format a value as ``--set`` takes it."""
    return value if isinstance(value, str) else json_format.dumps(value)


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
        typer.Option(
            "--set",
            help="Set a parameter of the method, as NAME=VALUE. Can be given several times. The parameters of each "
            "method are listed below.",
        ),
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
    from calm import draw_episode
    from calm.classifiers.file import check_writable

    parameters = _parse_parameters(set_ or [], top_heads)
    classifier = _make_classifier(method, parameters)
    with open_cache(cache) as opened:
        check_writable(out)
        warn_of_missing_vectors(opened)
        episode = draw_episode(opened, shots, seed)
        classifier.fit(episode.support, episode.support.labels)
        fitted = _fit_baselines(classifier, method, bool(parameters), episode if compare else None)
        results = _evaluate_all(fitted, episode)
        selection = _describe_selection(opened, episode, shots, seed)
    classifier.save(out)
    report = _FitReport(classifier, parameters, out, len(episode.support), len(episode.query), results)
    if json:
        print_json(report.facts)
    else:
        report.print_text(selection)


def _make_classifier(method: str, parameters: dict[str, Any]) -> HeadClassifier:
    """Make a classifier; an unknown method or an invalid parameter is an invalid command line."""
    from calm import make_method
    from calm.classifiers.registry import METHODS

    if method not in METHODS:
        raise typer.BadParameter(f"{method!r} is not one of {', '.join(METHODS)}", param_hint="'--method'")
    try:
        return make_method(method, **parameters)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--set'") from error


def _describe_selection(cache: HeadCache, episode: Episode, shots: int | None, seed: int) -> str:
    """Describe how the support set was drawn."""
    splits = sorted({*cache.splits[episode.support.rows].tolist()} - {""})
    parts = ["all available clips" if shots is None else f"{shots} per class"]
    if splits:
        parts[0] += f" from {' and '.join(splits)}"
    if shots is not None:
        parts.append(f"seed {seed}")
    if (cache.groups != "").any():
        parts.append("groups kept apart")
    return ", ".join(parts)


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
            if len(self.results) > 1:
                print_line(
                    "this is one support set, and differences within these intervals are uncertain: calm.compare "
                    "averages over many support sets (examples/compare.py)"
                )
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


def _parse_parameters(settings: list[str], top_heads: int | None) -> dict[str, Any]:
    """Parse NAME=VALUE settings and add ``--top-heads``; a value is JSON (number, true, null, ...), or else a string.

    Raises
    ------
    typer.BadParameter
        If a setting has no value, or a parameter is set twice.
    """
    parameters: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise typer.BadParameter(f"expected NAME=VALUE, got {setting!r}", param_hint="'--set'")
        if name in parameters or (name == "top_heads" and top_heads is not None):
            raise typer.BadParameter(f"{name} is set twice", param_hint="'--set'")
        try:
            parameters[name] = json_format.loads(value)
        except (json_format.JSONDecodeError, RecursionError):
            parameters[name] = value
    return parameters if top_heads is None else parameters | {"top_heads": top_heads}


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
