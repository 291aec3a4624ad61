"""Sphinx configuration: ``sphinx-build -W -n docs build/docs``."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import calm

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

DOCS = Path(__file__).parent
#: Modules whose public names have a page, in the order in which a name that is in several of them is looked up.
PUBLIC_MODULES = ("calm", "calm.extract", "calm.fit", "calm.sounds")
#: Markdown files outside of this folder, and the pages that include them.
INCLUDED = {
    "CONTRIBUTING.md": "/development.md",
    "benchmarks/README.md": "/benchmarks.md",
    "calm/extract/models/tiny/checkpoint/README.md": "/tiny.md",
    "examples/train_tiny/README.md": "/train_tiny.md",
}

project = "calm"
author = "The calm contributors"
copyright = f"2026, {author}"
version = release = calm.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_templates"]
templates_path = ["_templates"]
nitpicky = True
smartquotes = False  # they would make a dash of the "--" of options

# References to other projects are links only where CALM_ONLINE=1: a build without a network must not fail.
ONLINE = os.environ.get("CALM_ONLINE") == "1"
if ONLINE:
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }
nitpick_ignore_regex = [("py:.*", r"(sklearn|numpy|torch|transformers|scipy)\..*")]

# Prose
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Reference
autodoc_typehints = "none"  # numpydoc has the types
autosummary_generate = True
numpydoc_show_class_members = False  # the template lists them
numpydoc_xref_param_type = False

# Examples: scripts called plot_*.py are run when the documentation is built
sphinx_gallery_conf = {
    "examples_dirs": str(DOCS.parent / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_\w+\.py$",
    "reference_url": {"calm": None},
    "doc_module": ("calm",),
    "backreferences_dir": "gallery/backreferences",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 10,
    "within_subsection_order": "ExampleTitleSortKey",
}

# HTML
html_theme = "pydata_sphinx_theme"
html_title = f"calm {version}"
html_static_path = ["_static"]
html_css_files = ["calm.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "calm"},
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_end": [],
}
html_sidebars = {"index": [], "tour": [], "changelog": []}

linkcheck_ignore = [] if ONLINE else [r"https?://"]
linkcheck_timeout, linkcheck_retries = 20, 2

warnings.filterwarnings("ignore", message="the support set has too few groups")


def write_command_reference(app: Sphinx) -> None:
    """Write the page of the command line from the help of the commands."""
    command = [sys.executable, "-m", "typer", "calm.cli", "utils", "docs", "--name", "calm"]
    page = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | {"COLUMNS": "120"}
    ).stdout
    page = page.replace("# `calm`", "# Command line", 1).replace('<span style="font-weight: bold">', "`")
    (DOCS / "api" / "cli.md").write_text(page.replace("</span>", "`").lstrip())


def find_public_name(target: str) -> str | None:
    """Return the documented name of an object that is referred to by another path, such as that of its own module."""
    for module in PUBLIC_MODULES:
        public = importlib.import_module(module)
        if target.split(".")[0] in public.__all__:
            return f"{module}.{target}"
    module_name, _, name = target.rpartition(".")
    try:
        value = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError):
        return None  # a method, or an object of another project
    for module in PUBLIC_MODULES:
        if getattr(importlib.import_module(module), name, None) is value:
            return f"{module}.{name}"
    return None


def resolve_reference(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.reference | None:
    """Link references to objects of calm by any path to the page of their public name."""
    if node.get("refdomain") != "py":
        return None
    public = find_public_name(node["reftarget"])
    if public is None or public == node["reftarget"]:
        return None
    return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)


def link_included_pages(app: Sphinx, *names: object) -> None:
    """Link to the page that includes a Markdown file where a source links to the file itself."""
    source = names[-1]
    assert isinstance(source, list)
    for path, page in INCLUDED.items():
        source[0] = re.sub(rf"\]\((?:\.\./)+{re.escape(path)}", f"]({page}", source[0])


def skip_members_of_others(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out members that scikit-learn adds to estimators, whose docstrings link to its own user guide."""
    member = getattr(member, "fget", member) or member
    module = getattr(inspect.unwrap(member) if callable(member) else member, "__module__", None) or ""
    return True if what == "class" and module.startswith(("sklearn", "numpy", "torch")) else None


def setup(app: Sphinx) -> None:
    """Connect the functions of this file."""
    app.connect("builder-inited", write_command_reference)
    app.connect("autodoc-skip-member", skip_members_of_others)
    app.connect("source-read", link_included_pages)
    app.connect("include-read", link_included_pages)
    app.connect("missing-reference", resolve_reference)
