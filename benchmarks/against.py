"""Compare the run time of all commands between this checkout and another one.

    python benchmarks/against.py ../shared/esc10 --other ../calm-before

Each round runs every command once per checkout, as a whole process. The checkout that runs first alternates between
rounds. The table shows median times, and the median and range of the ratios over rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parents[1]


def commands(data: Path, clips: list[Path], model: str) -> dict[str, list[str]]:
    """Return the command lines in the order in which they run; each needs the files of the ones before."""
    return {
        "extract": ["extract", "--model", model, str(data), "--device", "cpu"],
        "extract, nothing left to do": ["extract", "--model", model, str(data), "--device", "cpu"],
        "fit, 5 shots": ["fit", "--shots", "5"],
        "fit, 20 shots": ["fit", "--shots", "20"],
        "evaluate": ["evaluate"],
        f"predict, {len(clips)} clips": ["predict", *map(str, clips), "--device", "cpu"],
        "info": ["info"],
        "help": ["--help"],
    }


def time_command(checkout: Path, folder: Path, arguments: list[str]) -> float:
    """Run one command, and return the run time of its process in seconds."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "calm", *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--other", type=Path, required=True, help="the other checkout")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=40, help="number of clips to predict")
    args = parser.parse_args()
    data, sides = args.data.resolve(), {"other": args.other.resolve(), "this": HERE}
    clips = sorted(path for path in data.rglob("*") if path.suffix in (".ogg", ".wav", ".flac"))
    clips = clips[:: max(1, len(clips) // args.clips)][: args.clips]
    times_by_command: dict[str, dict[str, list[float]]] = {}
    for round_ in range(args.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            folders = {side: Path(scratch) / side for side in sides}
            for folder in folders.values():
                folder.mkdir()
            for name, arguments in commands(data, clips, args.model).items():
                for side in list(sides)[:: -1 if round_ % 2 else 1]:
                    seconds = time_command(sides[side], folders[side], arguments)
                    times_by_command.setdefault(name, {}).setdefault(side, []).append(seconds)
    print(f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}, {args.rounds} rounds\n")
    print("| command | other, s | this, s | this / other | range |\n| --- | --- | --- | --- | --- |")
    for name, times in times_by_command.items():
        ratios = [this / other for this, other in zip(times["this"], times["other"], strict=True)]
        other, this = (statistics.median(times[side]) for side in ("other", "this"))
        print(
            f"| {name} | {other:.2f} | {this:.2f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f} – {max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
