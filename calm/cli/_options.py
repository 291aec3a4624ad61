"""Turn option groups of the Python API into command-line options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import typer

from calm.options import Option, build_group, is_group, options_of

R = TypeVar("R")


def expand_option_groups(command: Callable[..., R]) -> Callable[..., R]:
    """Decorate a command: each parameter annotated with an option group becomes one parameter per option.

    Names, types, defaults and descriptions come from :func:`calm.options.option`. The group names the help panel of its
    options; required options are listed in the main panel of the command.

    Parameters
    ----------
    command : callable
        Function that typer accepts as a command, apart from its option groups.

    Returns
    -------
    callable
        Function that typer accepts as a command.

    Examples
    --------
    >>> from calm.extract import Placement
    >>> def show(place: Placement, json: bool = False) -> None: ...
    >>> list(inspect.signature(expand_option_groups(show)).parameters)
    ['place_device', 'place_device_map', 'place_attention', 'place_trust_remote_code', 'json']
    """
    hints = get_type_hints(command, include_extras=True)
    command_parameters = inspect.signature(command).parameters
    groups = {name: hints[name] for name in command_parameters if is_group(hints[name])}

    @functools.wraps(command)
    def run(**values: Any) -> R:
        try:
            arguments = {
                name: build_group(group, _pop_group_values(values, name, group)) for name, group in groups.items()
            }
        except ValueError as error:  # two options that do not fit together, or a value that only the group can check
            raise typer.BadParameter(str(error)) from error
        return command(**arguments, **values)

    parameters = []
    for name, parameter in command_parameters.items():
        if name in groups:
            parameters += [_make_parameter(name, option) for option in options_of(groups[name]).values()]
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__  # typer must not see the signature of the original command
    return run


def _pop_group_values(values: dict[str, Any], group_name: str, group: type) -> Mapping[str, Any]:
    """Remove the values of one option group from the values of a command, and return them by option name."""
    return {name: values.pop(f"{group_name}_{name}") for name in options_of(group)}


def _make_parameter(group_name: str, option: Option) -> inspect.Parameter:
    """Make the parameter that typer turns into one command-line option."""
    flags = option.flags or (f"--{option.name.replace('_', '-')}",)
    is_required = option.default is MISSING
    typer_option = typer.Option(
        *flags,
        help=option.help,
        min=option.minimum,
        max=option.maximum,
        show_default=option.default is not None,
        rich_help_panel=None if is_required else option.panel,
    )
    return inspect.Parameter(
        f"{group_name}_{option.name}",  # options of two groups may have the same name
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if is_required else option.default,
        annotation=Annotated[_get_type(option), typer_option],
    )


def _get_type(option: Option) -> Any:
    """Return the type of an option; options with choices become a Literal."""
    if option.choices is None:
        return option.type
    choices: Any = Literal[option.choices]
    return choices | None if option.default is None else choices
