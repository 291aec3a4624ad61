"""Memory of one extraction of many short clips, from its first thousand to its last.

Clips are made (noise of 0.1 to 0.5 s, as wav files), and extracted by the command line in a process of its own, which
is looked at from outside: how much of its memory is resident when each thousand of its clips is done.

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
        place = folder / f"{i // 1000:03d}"
        place.mkdir(exist_ok=True, parents=True)
        samples = 0.1 * rng.standard_normal(rng.integers(1600, 8000))
        soundfile.write(place / f"{i:06d}.wav", samples, 16000)


def done_in(cache: Path) -> int:
    try:
        with HeadCache(cache) as opened:
            return int((opened.status == DONE).sum())
    except (FileNotFoundError, ValueError, OSError):  # not there yet
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
        wanted = steps
        while running.poll() is None:
            time.sleep(0.5)
            done = done_in(cache)
            if done >= wanted and running.poll() is None:
                resident = process.memory_info().rss / 2**20
                print(f"| {done} | {time.perf_counter() - start:.0f} | {resident:.0f} |", flush=True)
                wanted = (done // steps + 1) * steps
        if running.returncode:
            sys.exit(f"calm extract ended with {running.returncode}")
        print(f"\n{done_in(cache)} clips in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
