"""Every public name is documented: a docstring with a runnable example, and a page in the reference."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from numpydoc.docscrape import get_doc_object

API = Path(__file__).resolve().parents[1] / "docs" / "api"
MODULES = ("calm", "calm.extract", "calm.fit", "calm.sounds")


def public_names() -> list[tuple[str, str, Any]]:
    names = []
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        names += [(module_name, name, getattr(module, name)) for name in module.__all__ if not name.startswith("__")]
    return names


NAMES = public_names()
DOCUMENTED = [
    (f"{module}.{name}", value) for module, name, value in NAMES if inspect.isroutine(value) or isinstance(value, type)
]
IDS = [name for name, _ in DOCUMENTED]


def test_every_public_name_has_a_page_in_the_reference() -> None:
    pages = "\n".join(path.read_text() for path in API.glob("*.rst"))
    listed = set(re.findall(r"^   (\w+)$", pages, re.MULTILINE)) | set(re.findall(r"(\w+)``", pages))
    listed |= set(re.findall(r"py:data:: (\w+)", pages))
    listed |= set(re.findall(r"automodule:: calm\.(\w+)", pages))
    assert sorted({name for _, name, _ in NAMES} - listed) == []


@pytest.mark.parametrize(("name", "value"), DOCUMENTED, ids=IDS)
def test_every_public_name_has_an_example_that_runs(name: str, value: Any) -> None:
    if isinstance(value, type) and issubclass(value, Exception):
        return  # shown where it is raised
    lines = [line for line in (inspect.getdoc(value) or "").splitlines() if line.startswith(">>> ")]
    assert [line for line in lines if "+SKIP" not in line], f"{name} has no example that runs"


@pytest.mark.parametrize(("name", "value"), DOCUMENTED, ids=IDS)
def test_docstrings_describe_every_parameter(name: str, value: Any) -> None:
    if isinstance(value, type) and issubclass(value, Exception):
        return
    documented = get_doc_object(value)
    described = {
        alias.strip().lstrip("*")
        for parameter in documented["Parameters"] + documented["Attributes"]
        for alias in parameter.name.split(",")
        if parameter.desc
    }
    signature = inspect.signature(value).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    missing = [p.name for p in signature if p.kind not in variadic and p.name not in described]
    assert missing == [], f"{name} does not describe {missing}"
    assert documented["See Also"], f"{name} has no See Also"
