"""Command line of calm: thin commands over the public API, one command per file."""

from __future__ import annotations

import inspect

import typer

from calm.cli._streams import prepare_streams
from calm.cli.demo import demo
from calm.cli.evaluate import evaluate
from calm.cli.explain import explain
from calm.cli.export import export
from calm.cli.extract import extract
from calm.cli.fit import FitCommand, fit
from calm.cli.info import info
from calm.cli.models import models
from calm.cli.predict import predict
from calm.cli.zero_shot import zero_shot

app = typer.Typer(
    name="calm",
    help="Turn a frozen large audio-language model into a few-shot audio classifier.\n\n"
    "Typical use: [bold]calm extract --model tiny DATA[/], [bold]calm fit --shots 5[/], "
    "[bold]calm predict CLIP[/]. Exit codes: 0 success, 1 error, 2 invalid command line, "
    "3 finished but some clips failed, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (extract, fit, predict, evaluate, explain, zero_shot, info, export, models, demo):
    docstring = inspect.getdoc(command) or ""
    paragraphs = (" ".join(paragraph.split()) for paragraph in docstring.split("\n\n"))  # rich keeps line breaks
    app.command(cls=FitCommand if command is fit else None, help="\n\n".join(paragraphs))(command)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        from calm import __version__

        typer.echo(f"calm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None: ...


def main() -> None:
    """Run the command line."""
    prepare_streams()
    app()
