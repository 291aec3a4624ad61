"""``calm demo``: a complete demonstration on synthesized clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calm.cli._shared import format_percent, one_line_errors, print_json, print_line, print_table


@one_line_errors
def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write to; it must be empty, or not exist yet.")
    ] = Path("calm-demo"),
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="Alias (calm models lists them), Hugging Face Hub id or local folder of the model."
        ),
    ] = "tiny",
    shots: Annotated[int, typer.Option(min=1, help="Support clips per class.")] = 5,
    kinds: Annotated[int, typer.Option(min=2, help="Number of classes (kinds of sound).")] = 8,
    clips: Annotated[int, typer.Option(min=2, help="Clips per class.")] = 25,
    seed: Annotated[int, typer.Option(help="Random seed of the synthesized clips.")] = 0,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device of the model: cpu, cuda, cuda:1, mps … By default the first accelerator, or else the CPU."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Compare CALM with other few-shot methods and zero-shot prompting on synthesized clips.

    The demo needs no network with the model tiny, and no clips of your own. It writes all files into one folder.
    """
    from calm.demo import run_demo

    if not json:
        print_line(f"{kinds} classes of synthesized sounds, {clips} clips per class, model {model}")
    result = run_demo(
        out, model=model, n_classes=kinds, n_per_class=clips, shots=shots, seed=seed, device=device, progress=not json
    )
    if json:
        print_json(
            {
                "folder": str(out),
                "accuracy": {name: accuracy for name, (accuracy, _) in result.accuracy.items()},
                "half_width": {name: width for name, (_, width) in result.accuracy.items()},
                "chance": result.chance,
                "plot": None if result.plot is None else str(result.plot),
            }
        )
        return
    rows = [
        (name, format_percent(accuracy), f"± {100 * width:.1f}") for name, (accuracy, width) in result.accuracy.items()
    ]
    support_sets = result.comparison.support_sets
    print_line(f"accuracy with {shots} support clips per class, mean over {support_sets} support sets:")
    print_table(
        ("method", "accuracy", "95 % interval"), [*rows, ("chance", format_percent(result.chance), "")], numbers=(1, 2)
    )
    if result.plot is None:
        print_line("no plot was written: it needs matplotlib, pip install 'calm-audio[plot]'")
    else:
        print_line(f"wrote {result.plot}: plot of these accuracies and of the weight of each head for each class")
    for line in (
        "to classify your own clips, in one sub-folder per class:",
        f"  calm extract --model {model} YOUR_CLIPS",
        f"  calm fit --shots {shots}",
        "  calm predict CLIP",
    ):
        print_line(line)
