"""Measure the time and memory to create, open and read a head cache with as many clips as AudioSet.

Each step runs in its own process. Memory is measured in two ways: the peak that Python and numpy allocated
(tracemalloc, without the list of clips), and the growth of the resident set (ru_maxrss). The head vectors have one head
of size 1, so that the figures measure the metadata of the clips. With ``--before``, another version of calm does the
same steps, and the script prints ratios.

    python benchmarks/large_cache.py
    python benchmarks/large_cache.py --before ../an-earlier-checkout
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

STEPS = ("making it", "opening it", "opening it and reading 8 rows", "its labels", "its names")


def prepare_creation(path: Path, clips: int) -> Callable[[], object]:
    from calm.extract import Clip, Fingerprint, Request, create_cache

    clip_list = [Clip("", f"unbalanced_train/{i % 1000:03d}/Y{i:011d}.wav", f"class {i % 527}") for i in range(clips)]
    texts = ["What is the sound in this audio clip?"] * clips
    fingerprint = Fingerprint("abc", "def", "float32", "Hm?", 1, 16000, 30.0)
    return lambda: create_cache(path, clip_list, texts, (1, 1, 1), Request("tiny"), fingerprint)


def prepare_step(name: str, path: Path, clips: int) -> Callable[[], object]:
    from calm.extract import HeadCache

    if name == STEPS[0]:
        return prepare_creation(path, clips)
    rows = np.linspace(0, clips - 1, 8).astype(int)
    return {
        STEPS[1]: lambda: HeadCache(path),
        STEPS[2]: lambda: HeadCache(path).read(rows),
        STEPS[3]: lambda: HeadCache(path).labels,
        STEPS[4]: lambda: HeadCache(path).names,
    }[name]


def measure(name: str, path: Path, clips: int, traced: bool) -> None:
    """Run a step in this process, and print its figures as JSON; time and traced memory need separate runs."""
    work = prepare_step(name, path, clips)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if traced:
        tracemalloc.start()
    start = time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1] / 2**20 if traced else 0.0
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    del kept
    print(json.dumps({"seconds": seconds, "traced": peak, "grown": grown}))


def run_in_process(tree: Path, name: str, path: Path, clips: int) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    found: dict[str, float] = {}
    for traced in (True, False):
        if name == STEPS[0]:
            path.unlink(missing_ok=True)
        command = [sys.executable, __file__, "--step", name, "--cache", str(path), "--clips", str(clips)]
        command += ["--traced"] if traced else []
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        figures = json.loads(result.stdout)
        found |= {"traced": figures["traced"]} if traced else {key: figures[key] for key in ("seconds", "grown")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2_000_000)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--traced", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        measure(args.step, args.cache, args.clips, args.traced)
        return
    trees = {"now": Path(__file__).resolve().parents[1]}
    if args.before:
        trees = {"before": args.before.resolve(), **trees}
    print(f"{platform.platform()}, Python {platform.python_version()}, h5py {h5py.__version__}, ", end="")
    print(f"HDF5 {h5py.version.hdf5_version}; {args.clips} clips\n")
    print("| | version | seconds | allocated, MiB | grown by, MiB |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        found: dict[tuple[str, str], dict[str, float]] = {}
        for version, tree in trees.items():
            path = Path(folder) / f"{version}.h5"
            for name in STEPS:
                found[name, version] = took = run_in_process(tree, name, path, args.clips)
                print(
                    f"| {name} | {version} | {took['seconds']:.3f} | {took['traced']:.1f} | {took['grown']:.1f} |",
                    flush=True,
                )
                if name == STEPS[0]:  # mark all clips as done; every format stores this as 1
                    with h5py.File(path, "r+") as file:
                        file["status"][:] = 1
    if args.before:
        for name in STEPS:
            old, new = found[name, "before"], found[name, "now"]
            ratios = [
                f"{old[key] / max(new[key], 0.01):.1f} × {what}"
                for key, what in (("seconds", "the time"), ("traced", "the memory allocated"), ("grown", "the growth"))
            ]
            print(f"{name}: before took {', '.join(ratios)} of now")


if __name__ == "__main__":
    main()
