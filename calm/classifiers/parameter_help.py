"""Defaults and one-line descriptions of the parameters of a classifier, read from its docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from calm.classifiers.base import HeadClassifier

#: A line such as "temperature : float, default=0.07" in the section "Parameters".
_PARAMETER = re.compile(r"^(\w+) : (.*?)(, default=.*)?$")
#: A reference such as :func:`calm.fit.oas_shrinkage`, and the markers of code.
_REFERENCE, _CODE = re.compile(r":\w+:`~?([^`]+)`"), re.compile(r"``([^`]+)``")


@dataclass(frozen=True)
class ParameterHelp:
    """Default and description of one parameter.

    Attributes
    ----------
    name : str
        Name of the parameter.
    default : object
        Value of the parameter in the given classifier.
    values : str
        Type or values that it accepts, such as "float".
    description : str
        First sentence of its description.
    """

    name: str
    default: Any
    values: str
    description: str


def describe_parameters(classifier: HeadClassifier) -> list[ParameterHelp]:
    """Describe the parameters of a classifier in the order of its docstring.

    ``n_heads`` is left out, because only flat arrays need it.

    Parameters
    ----------
    classifier : HeadClassifier
        Classifier whose values are the defaults.

    Returns
    -------
    list of ParameterHelp
        One entry per parameter.

    Examples
    --------
    >>> from calm import SAVClassifier
    >>> describe_parameters(SAVClassifier())
    [ParameterHelp(name='top_heads', default=20, values='int', description='Number of heads that vote.')]
    """
    documented = _read_parameters(inspect.getdoc(type(classifier)) or "")
    values = {name: value for name, value in classifier.get_params().items() if name != "n_heads"}
    order = sorted(values, key=[*documented, *values].index)
    return [ParameterHelp(name, values[name], *documented.get(name, ("", ""))) for name in order]


def _read_parameters(docstring: str) -> dict[str, tuple[str, str]]:
    """Return the type and the first sentence about each parameter in a numpydoc docstring."""
    _, _, rest = docstring.partition("\nParameters\n----------\n")
    types, texts = dict[str, str](), dict[str, list[str]]()
    name = ""
    for line in rest.split("\n\n")[0].splitlines():
        if match := _PARAMETER.match(line):
            name = match[1]
            types[name], texts[name] = match[2], []
        elif name:
            texts[name].append(line.strip())
    return {name: (types[name], _first_sentence(" ".join(lines))) for name, lines in texts.items()}


def _first_sentence(text: str) -> str:
    text = _CODE.sub(r"\1", _REFERENCE.sub(r"\1", text))
    return re.split(r"(?<=[.]) |; see ", text)[0].rstrip(".") + "."
