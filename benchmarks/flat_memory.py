"""Measure the memory of an extraction of many short clips while it runs.

The clips are noise of 0.1 to 0.5 s in WAV files. ``calm extract`` runs in its own process. The script reads the
resident memory of this process after each tenth of the clips.

    python benchmarks/flat_memory.py
    python benchmarks/flat_memory.py --clips 100000 --model tiny-random
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile
import torch

from calm.extract import HeadCache
from calm.extract.cache.layout import DONE


def make_clips(folder: Path, clips: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(clips):
        subfolder = folder / f"{i // 1000:03d}"
        subfolder.mkdir(exist_ok=True, parents=True)
        samples = 0.1 * rng.standard_normal(rng.integers(1600, 8000))
        soundfile.write(subfolder / f"{i:06d}.wav", samples, 16000)


def count_done(cache: Path) -> int:
    try:
        with HeadCache(cache) as opened:
            return int((opened.status == DONE).sum())
    except (FileNotFoundError, ValueError, OSError):  # not created yet
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--model", default="tiny")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch) / "data", Path(scratch) / "heads.h5"
        make_clips(folder, args.clips)
        command = [sys.executable, "-m", "calm", "extract", "--model", args.model, "--out", str(cache), str(folder)]
        start = time.perf_counter()
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process, steps = psutil.Process(running.pid), args.clips // 10
        print(f"{platform.platform()}, {torch.get_num_threads()} threads, torch {torch.__version__}; ", end="")
        print(f"{args.model}, {args.clips} clips of 0.1 to 0.5 s\n")
        print("| clips done | seconds | resident, MiB |\n| --- | --- | --- |")
        next_report = steps
        while running.poll() is None:
            time.sleep(0.5)
            done = count_done(cache)
            if done >= next_report and running.poll() is None:
                resident = process.memory_info().rss / 2**20
                print(f"| {done} | {time.perf_counter() - start:.0f} | {resident:.0f} |", flush=True)
                next_report = (done // steps + 1) * steps
        if running.returncode:
            sys.exit(f"calm extract ended with {running.returncode}")
        print(f"\n{count_done(cache)} clips in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
