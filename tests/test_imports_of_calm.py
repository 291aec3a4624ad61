"""Public names are the public objects, in whatever order modules are imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import calm

SUBPACKAGES = ["extract", "fit", "sounds"]


def test_no_public_name_is_hidden_by_a_module_of_the_same_name() -> None:
    assert [name for name in calm.__all__ if importlib.util.find_spec(f"calm.{name}")] == SUBPACKAGES


@pytest.mark.parametrize("name", SUBPACKAGES)
def test_import_calm_makes_the_public_subpackages_available(name: str) -> None:
    subprocess.run([sys.executable, "-c", f"import calm; assert calm.{name}.__all__"], check=True)


def test_functions_are_functions_whatever_was_imported_before() -> None:
    check = "import calm.demo; from calm import *; zero_shot.__call__; compare.__call__"
    subprocess.run([sys.executable, "-c", check], check=True)
