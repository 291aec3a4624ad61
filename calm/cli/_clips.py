"""Clips on the command line, and the option for a model that has moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calm.extract.media.file import describe_missing, expand_user
from calm.extract.models.placement import Placement

if TYPE_CHECKING:
    from calm.extract import Clip

#: Option of commands that run the model of a classifier file.
MovedModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Alias, Hugging Face Hub id or local folder of the model, if it has moved. "
        "By default that of the classifier file.",
        rich_help_panel=Placement.panel,
    ),
]


def list_clips(paths: list[Path], *, allow_missing: bool = False) -> list[Clip]:
    """List the clips of files, folders and manifests. A missing path becomes a clip that fails.

    Raises
    ------
    FileNotFoundError
        If all paths are missing, unless ``allow_missing`` is true.
    """
    from calm import find_clips

    if paths and not allow_missing and not any(expand_user(path).exists() for path in paths):
        raise FileNotFoundError(describe_missing(paths[0], "file or folder"))
    return find_clips(paths)
