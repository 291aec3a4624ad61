"""Declare each option once; the command line, the docstrings and the value checks read its declaration.

A group of options is a frozen dataclass whose fields are declared with :func:`option`. A field whose type is another
group contributes the options of that group. The class attribute ``panel`` of a group is the heading under which the
command line lists its options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

Group = TypeVar("Group")
Documented = TypeVar("Documented", bound=Callable[..., Any])


@dataclass(frozen=True)
class Option:
    """Declaration of one option.

    Attributes
    ----------
    name : str
        Name of the option in Python.
    type : type
        Type annotation of the field.
    default : object
        Default value; ``dataclasses.MISSING`` if the option is required.
    help : str
        One or two sentences without markup.
    flags : tuple of str
        Flags on the command line. Empty means ``--name-of-the-field``.
    minimum, maximum : float or None
        Smallest and largest allowed value.
    choices : tuple of str or None
        Allowed values. None is also allowed if the type annotation includes it.
    panel : str or None
        Heading under which the command line lists the option; the ``panel`` of its group.
    """

    name: str
    type: Any
    default: Any
    help: str
    flags: tuple[str, ...]
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...] | None
    panel: str | None


def option(
    default: Any = MISSING,
    *,
    help: str,
    flags: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a dataclass field as an option.

    Parameters
    ----------
    default : object
        Default value. Without one, the option is required.
    help : str
        What the option does, in one or two sentences without markup.
    flags : tuple of str, default=()
        Flags on the command line. By default ``--name-of-the-field``.
    minimum, maximum : float, default=None
        Smallest and largest allowed value.
    choices : tuple of str, default=None
        The allowed values.

    Returns
    -------
    dataclasses.Field
        The field, with the declaration as its metadata.
    """
    metadata = {"help": help, "flags": flags, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=metadata)


def copy_option(group: type, name: str) -> Any:
    """Declare a dataclass field with the same default and metadata as an option of another group."""
    declared = next(declared for declared in fields(group) if declared.name == name)
    return field(default=declared.default, metadata=declared.metadata)


def options_of(*groups: type) -> dict[str, Option]:
    """Return the options of groups by name, including those of nested groups.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Batching:
    ...     batch_size: int | None = option(None, help="Clips per forward pass.", minimum=1)
    >>> options_of(Batching)["batch_size"].help
    'Clips per forward pass.'
    """
    return {declared.name: declared for group in groups for declared in _iterate_options(group)}


def _iterate_options(group: type) -> Iterator[Option]:
    """Yield the options of a group in the order of declaration, including those of nested groups."""
    hints = get_type_hints(group)
    for declared in fields(group):
        if is_group(hints[declared.name]):
            yield from _iterate_options(hints[declared.name])
        elif "help" in declared.metadata:
            yield _make_option(declared, hints[declared.name], getattr(group, "panel", None))


def _make_option(declared: Field[Any], annotation: Any, panel: str | None = None) -> Option:
    return Option(declared.name, annotation, declared.default, panel=panel, **declared.metadata)


def is_group(annotation: Any) -> bool:
    """Return whether a type annotation is a dataclass that declares options."""
    return isinstance(annotation, type) and is_dataclass(annotation) and any(_iterate_options(annotation))


def build_group(group: type[Group], values: Mapping[str, Any]) -> Group:
    """Build a group, and the groups nested in it, from option values by name.

    Raises
    ------
    TypeError
        If a name is not an option of the group, or a required option is missing.

    Examples
    --------
    >>> from calm.extract import Request
    >>> build_group(Request, {"model": "tiny", "question": "Which bird sings?"}).prompt
    Prompt(template='{question}', question='Which bird sings?')
    """
    check_names(group, values)
    hints = get_type_hints(group)
    arguments: dict[str, Any] = {}
    for declared in fields(group):  # type: ignore[arg-type]
        annotation = hints[declared.name]
        if is_group(annotation):
            nested = {name: values[name] for name in options_of(annotation) if name in values}
            arguments[declared.name] = build_group(annotation, nested)
        elif declared.name in values:
            arguments[declared.name] = values[declared.name]
    return group(**arguments)


def check_names(group: type, names: Iterable[str]) -> None:
    """Check that names are options of a group or of the groups nested in it.

    Raises
    ------
    TypeError
        If a name is not an option. The message lists the unknown names and all options.
    """
    options = options_of(group)
    unknown = sorted(set(names) - set(options))
    if unknown:
        raise TypeError(f"{group.__name__} has no option {', '.join(unknown)}; its options are {', '.join(options)}")


def check_values(group: Any) -> None:
    """Check the option values of a group against their declarations: types, limits and choices.

    Raises
    ------
    TypeError
        If a value has the wrong type.
    ValueError
        If a value is too small, too large or not one of the choices.
    """
    hints = get_type_hints(type(group))
    for declared in fields(group):
        value, annotation = getattr(group, declared.name), hints[declared.name]
        if is_group(annotation):
            if not isinstance(value, annotation):
                raise TypeError(f"{declared.name} must be a {annotation.__name__}, got {value!r}")
        elif "help" in declared.metadata:
            _check_value(_make_option(declared, annotation), value)


def _check_value(declared: Option, value: Any) -> None:
    """Check one value against the type, choices and limits of its option."""
    types = getattr(declared.type, "__args__", (declared.type,))
    if value is None and type(None) in types:
        return
    allowed_types = (*types, int) if float in types else types
    if not isinstance(value, allowed_types) or (isinstance(value, bool) and bool not in types):
        raise TypeError(f"{declared.name} must be {format_type(declared.type)}, got {value!r}")
    if declared.choices is not None and value not in declared.choices:
        *first, last = declared.choices
        raise ValueError(f"{declared.name} must be {', '.join(first)} or {last}, got {value!r}")
    if declared.minimum is not None and not value >= declared.minimum:
        raise ValueError(f"{declared.name} must be at least {declared.minimum}, got {value!r}")
    if declared.maximum is not None and not value <= declared.maximum:
        raise ValueError(f"{declared.name} must be at most {declared.maximum}, got {value!r}")


def option_values(group: Any) -> dict[str, Any]:
    """Return the option values of a group by name, including those of nested groups."""
    values: dict[str, Any] = {}
    for declared in fields(group):
        value = getattr(group, declared.name)
        if is_group(type(value)):
            values |= option_values(value)
        elif "help" in declared.metadata:
            values[declared.name] = value
    return values


def document_options(*groups: type, leave_out: Collection[str] = ()) -> Callable[[Documented], Documented]:
    """Decorate a class or function: replace the line ``{options}`` of its docstring by descriptions of options.

    Parameters
    ----------
    *groups : type
        Groups whose options are described. By default, the decorated class.
    leave_out : collection of str, default=()
        Names of options to leave out.

    Returns
    -------
    callable
        The decorator.

    Raises
    ------
    ValueError
        If the docstring has no line ``{options}``.
    """

    def decorate(documented: Documented) -> Documented:
        if documented.__doc__ is None:  # python -OO strips docstrings
            return documented
        described_groups: tuple[Any, ...] = groups or (documented,)
        line = re.search(r"^( *)\{options\}$", documented.__doc__, re.MULTILINE)
        if line is None:
            raise ValueError(f"the docstring of {documented.__name__} has no line {{options}}")
        described = describe_options(*described_groups, indent=len(line[1]), leave_out=leave_out)
        documented.__doc__ = documented.__doc__[: line.start()] + line[1] + described + documented.__doc__[line.end() :]
        return documented

    return decorate


def describe_options(*groups: type, indent: int = 0, leave_out: Collection[str] = ()) -> str:
    """Describe the options of groups as a numpydoc parameter list.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Batching:
    ...     batch_size: int | None = option(None, help="Clips per forward pass.")
    >>> print(describe_options(Batching))
    batch_size : int, default=None
        Clips per forward pass.
    """
    lines = []
    for declared in options_of(*groups).values():
        if declared.name in leave_out:
            continue
        default = "" if declared.default is MISSING else f", default={declared.default!r}"
        choices = None if declared.choices is None else "{" + ", ".join(map(repr, declared.choices)) + "}"
        lines += [f"{declared.name} : {choices or format_type(declared.type)}{default}", f"    {declared.help}"]
    return f"\n{' ' * indent}".join(lines)


def format_type(annotation: Any) -> str:
    """Write a type as in a docstring: ``int | None`` as "int", because the default shows that None is allowed."""
    types = [member for member in getattr(annotation, "__args__", ()) if member is not type(None)]
    if types:
        return " or ".join(format_type(member) for member in types)
    return getattr(annotation, "__name__", str(annotation))
