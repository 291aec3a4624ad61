"""Options are described once, on the field that holds them; the command line, docstrings and the docs read it there.

A group of options is a frozen dataclass whose fields are made by :func:`option`. A field that is such a group itself
stands for the options in it. Its ``panel`` is the heading that its options stand under where a command lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
    about: str  #: one or two sentences
    flags: tuple[str, ...]  #: on the command line, where not made from the name
    least: float | None  #: the smallest value
    choices: tuple[str, ...] | None  #: all values that it can have, besides None where that is the default
    panel: str | None  #: what the command line lists it under: that of its group


def option(
    default: Any = MISSING,
    *,
    about: str,
    flags: tuple[str, ...] = (),
    least: float | None = None,
    choices: tuple[str, ...] | None = None,
    compare: bool = True,
) -> Any:
    """Declare a field of a dataclass as an option.

    Parameters
    ----------
    default : object
        Must be given where there is none.
    about : str
        What it does, in a sentence or two. Without markup.
    flags : tuple of str, default=()
        What it is called on the command line: ``--name-of-the-field`` unless given.
    least : float, default=None
        The smallest value that the command line takes.
    choices : tuple of str, default=None
        The only values that the command line takes.
    compare : bool, default=True
        Whether two groups that differ here are unequal.
    """
    told = {"about": about, "flags": flags, "least": least, "choices": choices}
    return field(default=default, compare=compare, metadata=told)


def options_of(*groups: type) -> dict[str, Option]:
    """List the options of some groups, and of the groups in them, by name.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Batching:
    ...     batch_size: int | None = option(None, about="Clips a forward pass.", least=1)
    >>> options_of(Batching)["batch_size"].about
    'Clips a forward pass.'
    """
    return {one.name: one for group in groups for one in _each(group)}


def _each(group: type) -> Iterator[Option]:
    hints = get_type_hints(group)
    for declared in fields(group):
        if is_group(hints[declared.name]):
            yield from _each(hints[declared.name])
        elif "about" in declared.metadata:
            yield _option(declared, hints[declared.name], getattr(group, "panel", None))


def _option(declared: Field[Any], annotation: Any, panel: str | None) -> Option:
    return Option(declared.name, annotation, declared.default, panel=panel, **declared.metadata)


def is_group(annotation: Any) -> bool:
    """Tell whether an annotation is a dataclass that holds options."""
    return (
        isinstance(annotation, type)
        and is_dataclass(annotation)
        and any("about" in declared.metadata or is_dataclass(declared.type) for declared in fields(annotation))
    )


def make_group(group: type[Group], values: Mapping[str, Any]) -> Group:
    """Make a group from the values of its options, those of the groups in it among them.

    Raises
    ------
    TypeError
        If there is a value that is of no option, or none for an option without a default.

    Examples
    --------
    >>> from calm.extract import Request
    >>> make_group(Request, {"model": "tiny", "question": "Which bird sings?"}).prompt
    Prompt(template='{question}', question='Which bird sings?')
    """
    unknown = sorted(set(values) - set(options_of(group)))
    if unknown:
        raise TypeError(f"{group.__name__} has no option {', '.join(unknown)}; it has {', '.join(options_of(group))}")
    hints, given = get_type_hints(group), {}
    for declared in fields(group):  # type: ignore[arg-type]
        own = hints[declared.name]
        if is_group(own):
            given[declared.name] = make_group(own, {name: values[name] for name in options_of(own) if name in values})
        elif declared.name in values:
            given[declared.name] = values[declared.name]
    return group(**given)


def values_of(group: Any) -> dict[str, Any]:
    """Return the values of all options of a group, those of the groups in it among them, by name."""
    found: dict[str, Any] = {}
    for declared in fields(group):
        value = getattr(group, declared.name)
        if is_group(type(value)):
            found |= values_of(value)
        elif "about" in declared.metadata:
            found[declared.name] = value
    return found


def documented(*groups: type, indent: int = 4) -> Callable[[Documented], Documented]:
    """Put the descriptions of options in the place of ``{options}`` in a docstring.

    Parameters
    ----------
    *groups : type
    indent : int, default=4
        Of the docstring.
    """

    def decorate(documented_thing: Documented) -> Documented:
        text = documented_thing.__doc__ or ""
        documented_thing.__doc__ = text.replace("{options}", numpy_docs(*groups, indent=indent))
        return documented_thing

    return decorate


def numpy_docs(*groups: type, indent: int = 0) -> str:
    """Describe options as NumPy's docstrings do.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Batching:
    ...     batch_size: int | None = option(None, about="Clips a forward pass.")
    >>> print(numpy_docs(Batching))
    batch_size : int, default=None
        Clips a forward pass.
    """
    lines = []
    for one in options_of(*groups).values():
        default = "" if one.default is MISSING else f", default={one.default!r}"
        lines += [f"{one.name} : {type_words(one.type)}{default}", f"    {one.about}"]
    return f"\n{' ' * indent}".join(lines)


def type_words(annotation: Any) -> str:
    """Write a type as docstrings do: "int" for ``int | None``, since the default tells the rest."""
    parts = [part for part in getattr(annotation, "__args__", ()) if part is not type(None)]
    if parts:
        return " or ".join(type_words(part) for part in parts)
    return getattr(annotation, "__name__", str(annotation))
