"""``calm demo``: from nothing to a result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calm.cli._shared import format_percent, one_line_errors, print_json, print_line, print_table


@one_line_errors
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The folder to make; it must not be there yet, or be empty.")
    ] = Path("calm-demo"),
    model: Annotated[str, typer.Option("--model", "-m", help="An alias, a hub id or a local folder.")] = "tiny",
    shots: Annotated[int, typer.Option(min=1, help="Labelled clips of each kind.")] = 5,
    kinds: Annotated[int, typer.Option(min=2, help="Kinds of sound.")] = 8,
    clips: Annotated[int, typer.Option(min=2, help="Clips of each kind.")] = 25,
    seed: Annotated[int, typer.Option(help="Another number draws other kinds.")] = 0,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps …; default: the first accelerator.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Make sounds, extract their head vectors, and show CALM beside other methods and zero-shot prompting.

    Needs no network and no clips of your own. Everything is left in one folder.
    """
    from calm.demo import run_demo

    if not json:
        print_line(f"{kinds} kinds of synthesized sound, {clips} clips of each, through {model}")
    found = run_demo(
        out, model=model, n_classes=kinds, n_per_class=clips, shots=shots, seed=seed, device=device, progress=not json
    )
    if json:
        print_json(
            {
                "folder": str(out),
                "accuracy": {name: accuracy for name, (accuracy, _) in found.accuracy.items()},
                "half_width": {name: width for name, (_, width) in found.accuracy.items()},
                "chance": found.chance,
                "plot": None if found.plot is None else str(found.plot),
            }
        )
        return
    rows = [
        (name, format_percent(accuracy), f"± {100 * width:.1f}") for name, (accuracy, width) in found.accuracy.items()
    ]
    support_sets = next(iter(found.comparison.accuracy.values())).shape[1]
    print_line(f"accuracy with {shots} labelled clips of each kind, mean of {support_sets} support sets:")
    print_table(("method", "accuracy", "95 %"), [*rows, ("chance", format_percent(found.chance), "")], numbers=(1, 2))
    if found.plot is None:
        print_line("no plot: it needs matplotlib, pip install 'calm-audio[plot]'")
    else:
        print_line(f"wrote {found.plot}: these accuracies, and which heads CALM listens to for which kind")
    for line in (
        "the same on your own clips, in one folder a class:",
        f"  calm extract --model {model} YOUR_CLIPS",
        f"  calm fit --shots {shots}",
        "  calm predict CLIP",
    ):
        print_line(line)
