"""Options are described once, on the field that holds them; the command line, docstrings and the docs read it there.

A group of options is a frozen dataclass whose fields are made by :func:`option`. A field that is such a group itself
stands for the options in it. Its ``panel`` is the heading that its options stand under where a command lists them.
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
    """One option, as it was declared."""

    name: str
    type: Any  #: its annotation
    default: Any  #: ``dataclasses.MISSING`` where it must be given
    help: str  #: one or two sentences
    flags: tuple[str, ...]  #: on the command line, where not made from the name
    minimum: float | None  #: the smallest value
    maximum: float | None  #: the largest value
    choices: tuple[str, ...] | None  #: the only values, besides None where that is the default
    panel: str | None  #: what the command line lists it under: that of its group


def option(
    default: Any = MISSING,
    *,
    help: str,
    flags: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """Declare a field of a dataclass as an option.

    Parameters
    ----------
    default : object
        Must be given where there is none.
    help : str
        What it does, in a sentence or two. Without markup.
    flags : tuple of str, default=()
        What it is called on the command line: ``--name-of-the-field`` unless given.
    minimum, maximum : float, default=None
        The smallest and the largest value that are taken.
    choices : tuple of str, default=None
        The only values that are taken.
    """
    told = {"help": help, "flags": flags, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=told)


def copy_option(group: type, name: str) -> Any:
    """Declare a field as the option of another group, described there."""
    declared = next(declared for declared in fields(group) if declared.name == name)
    return field(default=declared.default, metadata=declared.metadata)


def options_of(*groups: type) -> dict[str, Option]:
    """List the options of some groups, and of the groups in them, by name.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Batching:
    ...     batch_size: int | None = option(None, help="Clips a forward pass.", minimum=1)
    >>> options_of(Batching)["batch_size"].help
    'Clips a forward pass.'
    """
    return {one.name: one for group in groups for one in _each(group)}


def _each(group: type) -> Iterator[Option]:
    hints = get_type_hints(group)
    for declared in fields(group):
        if is_group(hints[declared.name]):
            yield from _each(hints[declared.name])
        elif "help" in declared.metadata:
            yield _option(declared, hints[declared.name], getattr(group, "panel", None))


def _option(declared: Field[Any], annotation: Any, panel: str | None = None) -> Option:
    return Option(declared.name, annotation, declared.default, panel=panel, **declared.metadata)


def is_group(annotation: Any) -> bool:
    """Tell whether an annotation is a dataclass that holds options."""
    return isinstance(annotation, type) and is_dataclass(annotation) and any(_each(annotation))


def build_group(group: type[Group], values: Mapping[str, Any]) -> Group:
    """Make a group from the values of its options, those of the groups in it among them.

    Raises
    ------
    TypeError
        If there is a value that is of no option, or none for an option without a default.

    Examples
    --------
    >>> from calm.extract import Request
    >>> build_group(Request, {"model": "tiny", "question": "Which bird sings?"}).prompt
    Prompt(template='{question}', question='Which bird sings?')
    """
    check_names(group, values)
    hints, given = get_type_hints(group), {}
    for declared in fields(group):  # type: ignore[arg-type]
        own = hints[declared.name]
        if is_group(own):
            given[declared.name] = build_group(own, {name: values[name] for name in options_of(own) if name in values})
        elif declared.name in values:
            given[declared.name] = values[declared.name]
    return group(**given)


def check_names(group: type, names: Iterable[str]) -> None:
    """Refuse names that are of no option of a group, or of a group in it.

    Raises
    ------
    TypeError
        Naming them, and all that there are.
    """
    known = options_of(group)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise TypeError(f"{group.__name__} has no option {', '.join(unknown)}; it has {', '.join(known)}")


def check_values(group: Any) -> None:
    """Check the options of a group, each by its own declaration: its type, its limits, its choices.

    Raises
    ------
    TypeError
        If a value is of another type, or a part of the group is none.
    ValueError
        If it is too small or too large, or none of the choices.
    """
    hints = get_type_hints(type(group))
    for declared in fields(group):
        value, annotation = getattr(group, declared.name), hints[declared.name]
        if is_group(annotation):
            if not isinstance(value, annotation):
                raise TypeError(f"{declared.name} must be a {annotation.__name__}, got {value!r}")
        elif "help" in declared.metadata:
            _check_value(_option(declared, annotation), value)


def _check_value(one: Option, value: Any) -> None:
    kinds = getattr(one.type, "__args__", (one.type,))
    if value is None and type(None) in kinds:
        return
    taken = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, taken) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{one.name} must be {type_name(one.type)}, got {value!r}")
    if one.choices is not None and value not in one.choices:
        *first, last = one.choices
        raise ValueError(f"{one.name} must be {', '.join(first)} or {last}, got {value!r}")
    if one.minimum is not None and not value >= one.minimum:
        raise ValueError(f"{one.name} must be at least {one.minimum}, got {value!r}")
    if one.maximum is not None and not value <= one.maximum:
        raise ValueError(f"{one.name} must be at most {one.maximum}, got {value!r}")


def option_values(group: Any) -> dict[str, Any]:
    """Return the values of all options of a group, those of the groups in it among them, by name."""
    found: dict[str, Any] = {}
    for declared in fields(group):
        value = getattr(group, declared.name)
        if is_group(type(value)):
            found |= option_values(value)
        elif "help" in declared.metadata:
            found[declared.name] = value
    return found


def document_options(*groups: type, leave_out: Collection[str] = ()) -> Callable[[Documented], Documented]:
    """Put the descriptions of options in the place of the line ``{options}`` of a docstring.

    Parameters
    ----------
    *groups : type
        The decorated class itself, unless given.
    leave_out : collection of str, default=()
        Options that are not described there.

    Raises
    ------
    ValueError
        If there is no such line.
    """

    def decorate(thing: Documented) -> Documented:
        if thing.__doc__ is None:  # python -OO strips docstrings
            return thing
        described_groups: tuple[Any, ...] = groups or (thing,)
        found = re.search(r"^( *)\{options\}$", thing.__doc__, re.MULTILINE)
        if found is None:
            raise ValueError(f"the docstring of {thing.__name__} has no line {{options}}")
        described = numpy_docs(*described_groups, indent=len(found[1]), leave_out=leave_out)
        thing.__doc__ = thing.__doc__[: found.start()] + found[1] + described + thing.__doc__[found.end() :]
        return thing

    return decorate


def numpy_docs(*groups: type, indent: int = 0, leave_out: Collection[str] = ()) -> str:
    """Describe options as NumPy's docstrings do.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Batching:
    ...     batch_size: int | None = option(None, help="Clips a forward pass.")
    >>> print(numpy_docs(Batching))
    batch_size : int, default=None
        Clips a forward pass.
    """
    lines = []
    for one in options_of(*groups).values():
        if one.name in leave_out:
            continue
        default = "" if one.default is MISSING else f", default={one.default!r}"
        kind = type_name(one.type) if one.choices is None else "{" + ", ".join(map(repr, one.choices)) + "}"
        lines += [f"{one.name} : {kind}{default}", f"    {one.help}"]
    return f"\n{' ' * indent}".join(lines)


def type_name(annotation: Any) -> str:
    """Write a type as docstrings do: "int" for ``int | None``, since the default tells the rest."""
    parts = [part for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    if parts:
        return " or ".join(type_name(part) for part in parts)
    return getattr(annotation, "__name__", str(annotation))
