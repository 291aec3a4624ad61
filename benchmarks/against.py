"""The commands of this checkout beside those of another, in turn, as whole processes.

    python benchmarks/against.py ../shared/esc10 --other ../calm-before

Each round runs every command once with either checkout on the path, the one that goes first changing from round to
round. Printed are medians of the time, and the median of the rounds' ratios with their range.
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
    """Return the command lines, in the order in which they follow on each other."""
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


def audio_duration(checkout: Path, folder: Path, arguments: list[str]) -> float:
    """Run one command, and return how long its process lasted."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "calm", *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--other", type=Path, required=True, help="another checkout, to be compared with")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, default=40, help="how many are predicted")
    args = parser.parse_args()
    data, sides = args.data.resolve(), {"other": args.other.resolve(), "this": HERE}
    clips = sorted(path for path in data.rglob("*") if path.suffix in (".ogg", ".wav", ".flac"))
    clips = clips[:: max(1, len(clips) // args.clips)][: args.clips]
    took: dict[str, dict[str, list[float]]] = {}
    for round_ in range(args.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            folders = {side: Path(scratch) / side for side in sides}
            for folder in folders.values():
                folder.mkdir()
            for name, arguments in commands(data, clips, args.model).items():
                for side in list(sides)[:: -1 if round_ % 2 else 1]:
                    seconds = audio_duration(sides[side], folders[side], arguments)
                    took.setdefault(name, {}).setdefault(side, []).append(seconds)
    print(f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}, {args.rounds} rounds\n")
    print("| command | other, s | this, s | this / other | range |\n| --- | --- | --- | --- | --- |")
    for name, times in took.items():
        ratios = [this / other for this, other in zip(times["this"], times["other"], strict=True)]
        other, this = (statistics.median(times[side]) for side in ("other", "this"))
        print(
            f"| {name} | {other:.2f} | {this:.2f} | {statistics.median(ratios):.2f} | "
            f"{min(ratios):.2f} – {max(ratios):.2f} |"
        )


if __name__ == "__main__":
    main()
