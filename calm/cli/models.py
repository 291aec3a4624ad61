"""``calm models``: the aliases."""

from __future__ import annotations

from typing import Annotated

import typer

from calm.cli._shared import one_line_errors, print_json, print_table

_WHAT = {
    "tiny": "built in, nothing to download; trained on synthesized sounds, for trying things out",
    "tiny-random": "the same with random weights, to compare with",
    "qwen2-audio": "8.4 B parameters, 32 layers × 32 heads",
    "qwen2.5-omni": "the part that listens and reads, 28 layers × 28 heads",
}


@one_line_errors
def models(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """List the models that have a short name. Any hub id or local folder will do too."""
    from calm.extract import ALIASES

    if json:
        print_json(dict(ALIASES))
        return
    print_table(("alias", "stands for", "what it is"), [(a, target, _WHAT[a]) for a, target in ALIASES.items()])
