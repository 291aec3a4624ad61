"""Options of the command line, made from the groups of options that the Python API takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from calm.options import Option, build_group, is_group, options_of

R = TypeVar("R")


def takes_groups(command: Callable[..., R]) -> Callable[..., R]:
    """Let a command take groups of options: each parameter that is annotated with one becomes the options in it.

    What they are called, their types, defaults and descriptions come from :func:`calm.options.option`, and the panel
    that they are listed in from their group. An option that must be given is listed with the command's own.

    Parameters
    ----------
    command : callable
        As typer takes it.

    Examples
    --------
    >>> from calm.extract import Placement
    >>> def show(place: Placement, json: bool = False) -> None: ...
    >>> list(inspect.signature(takes_groups(show)).parameters)
    ['place_device', 'place_device_map', 'place_attention', 'place_trust_remote_code', 'json']
    """
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters
    groups = {name: hints[name] for name in own if is_group(hints[name])}

    @functools.wraps(command)
    def run(**values: Any) -> R:
        made = {name: build_group(group, _taken(values, name, group)) for name, group in groups.items()}
        return command(**made, **values)

    parameters = []
    for name, parameter in own.items():
        if name in groups:
            parameters += [_parameter(name, option) for option in options_of(groups[name]).values()]
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__  # its signature is another
    return run


def _taken(values: dict[str, Any], group_name: str, group: type) -> Mapping[str, Any]:
    return {name: values.pop(f"{group_name}_{name}") for name in options_of(group)}


def _parameter(group_name: str, option: Option) -> inspect.Parameter:
    flags = option.flags or (f"--{option.name.replace('_', '-')}",)
    needed = option.default is MISSING
    shown = typer.Option(
        *flags,
        help=option.help,
        min=option.minimum,
        max=option.maximum,
        show_default=option.default is not None,
        rich_help_panel=None if needed else option.panel,
    )
    return inspect.Parameter(
        f"{group_name}_{option.name}",  # options of two groups may have one name
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if needed else option.default,
        annotation=Annotated[_type_of(option), shown],
    )


def _type_of(option: Option) -> Any:
    if option.choices is None:
        return option.type
    one_of: Any = Literal[option.choices]
    return one_of | None if option.default is None else one_of
