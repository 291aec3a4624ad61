"""An option is declared once: command line, docstrings and estimators show its declaration."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, dataclass, field

import pytest
from typer.testing import CliRunner

from calm import HeadExtractor, extract_to_cache, load_lalm, predict_audio, zero_shot
from calm.cli import app
from calm.extract import (
    Batching,
    Columns,
    LoadOptions,
    MediaOptions,
    Placement,
    Prompt,
    Request,
    RunOptions,
    head_vectors,
)
from calm.options import (
    build_group,
    check_values,
    describe_options,
    document_options,
    option,
    option_values,
    options_of,
)


@dataclass(frozen=True)
class Inner:
    size: int | None = option(None, help="How large.", minimum=1, maximum=9)

    def __post_init__(self) -> None:
        check_values(self)


@dataclass(frozen=True)
class Outer:
    name: str = option(help="What it is called.", flags=("--name", "-n"))
    inner: Inner = field(default_factory=Inner)
    loud: bool = option(False, help="Say more.")


def test_options_of_a_group_are_those_of_its_parts_too() -> None:
    assert list(options_of(Outer)) == ["name", "size", "loud"]
    built = build_group(Outer, {"name": "a", "size": 3})
    assert built == Outer("a", Inner(3))
    assert option_values(built) == {"name": "a", "size": 3, "loud": False}
    with pytest.raises(TypeError, match="Outer has no option colour; its options are name, size, loud"):
        build_group(Outer, {"name": "a", "colour": "red"})
    assert describe_options(Outer, indent=4).splitlines() == [
        "name : str",
        "        What it is called.",
        "    size : int, default=None",
        "        How large.",
        "    loud : bool, default=False",
        "        Say more.",
    ]


@pytest.mark.parametrize(("size", "message"), [(0, "size must be at least 1, got 0"), (10, "at most 9, got 10")])
def test_a_value_outside_its_limits_is_refused(size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Inner(size)


def test_a_docstring_without_a_place_for_options_is_a_mistake() -> None:
    def measure() -> None:
        """Measure."""

    with pytest.raises(ValueError, match="the docstring of measure has no line {options}"):
        document_options(Inner)(measure)


def test_the_extractor_takes_all_options_of_a_request_with_their_defaults() -> None:
    parameters = dict(inspect.signature(HeadExtractor.__init__).parameters)
    for name in ("self", "batch_size", "sampling_rate", "on_error"):
        del parameters[name]
    declared = {
        name: inspect.Parameter.empty if one.default is MISSING else one.default
        for name, one in options_of(Request).items()
    }
    assert {name: parameter.default for name, parameter in parameters.items()} == declared


@pytest.mark.parametrize(
    ("document_options", "groups"),
    [
        (HeadExtractor, (Request,)),
        (Request, (Request,)),
        (head_vectors, (Batching,)),
        (extract_to_cache, (RunOptions,)),
        (load_lalm, (LoadOptions, Placement)),
        (predict_audio, (Placement,)),
        (zero_shot, (Prompt, MediaOptions)),
    ],
)
def test_docstrings_hold_the_descriptions(document_options: object, groups: tuple[type, ...]) -> None:
    text = inspect.getdoc(document_options) or ""
    assert all(one.help in text and f"{one.name} : " in text for one in options_of(*groups).values())
    assert "{options}\n" not in text
    assert all(text.count(f"\n{one.name} : ") == 1 for one in options_of(*groups).values())


def test_the_command_line_has_every_option_and_what_it_does() -> None:
    help_text = " ".join(CliRunner(env={"COLUMNS": "400"}).invoke(app, ["extract", "--help"]).output.split())
    for group in (Request, RunOptions, Columns):
        for one in options_of(group).values():
            assert (one.flags or (f"--{one.name.replace('_', '-')}",))[0] in help_text
            assert one.help.split(". ")[0].rstrip(".") in help_text
