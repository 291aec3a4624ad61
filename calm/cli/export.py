"""``calm export``: write the clips of a head cache to a file of another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calm.cli._files import CACHE, open_cache
from calm.cli._shared import format_count, format_size, one_line_errors, print_json, print_line


@one_line_errors
def export(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="New file to write. Its suffix is .parquet, .csv or .npz."),
    ],
    cache: Annotated[Path, typer.Argument(help="Head cache, from calm extract.")] = CACHE,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Write the clips of a head cache to a file of another format.

    Parquet contains the metadata of all clips and their head vectors, as one list of numbers per clip. CSV contains the
    metadata. An npz file of NumPy contains X, y, groups, splits and names of the clips that have head vectors.
    """
    from calm.extract.cache.export import SUFFIXES, export_file

    if out.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"{out} does not end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    with open_cache(cache) as opened:
        export_file(opened[:], out)
        n_clips = len(opened.done) if out.suffix.lower() == ".npz" else len(opened)
    if json:
        print_json({"file": str(out), "clips": n_clips})
    else:
        print_line(f"{out}: {format_count(n_clips, 'clip')}, {format_size(out.stat().st_size)}")
