"""Extraction against the procedure that was published with CALM, on the same clips, in one run.

The published procedure decodes a clip, runs the whole model on it alone, language-model head included, keeps the
input of every output projection at every position, and does so 20 times over before it takes the last position. It
is rebuilt here from that description. Each side runs in a process of its own, in turn, several times over, so that
peak memory can be read off the process and a drift of the machine's speed hits both. Times start when the model is
loaded and end when the vectors are stored: in a cache here, in memory there.

    python benchmarks/extract_vs_published.py ../shared/esc10
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from calm.extract import HeadCache, Request, extract_to_cache, find_clips, load_lalm, read_waveform

REQUEST = Request(model="tiny")


def published(paths: list[str], passes: int) -> np.ndarray:
    """Return head vectors (clips, layers, heads, dim) the published way."""
    lalm = load_lalm("tiny", device="cpu")
    prompt = lalm.chat(REQUEST.question)
    kept: dict[int, torch.Tensor] = {}
    for layer, projection in enumerate(lalm.heads.projections):
        projection.register_forward_pre_hook(lambda _, args, layer=layer: kept.__setitem__(layer, args[0].clone()))
    vectors = []
    begin()
    for path in paths:
        clip = read_waveform(path, lalm.sampling_rate, lalm.window_seconds)
        inputs = lalm.inputs([clip.samples], [prompt])
        for _ in range(passes):
            with torch.no_grad():
                lalm.model(**inputs)
        every_position = torch.stack([kept[layer] for layer in range(len(kept))], dim=1)
        vectors.append(every_position[0, :, -1].reshape(lalm.heads.shape).numpy())
    return np.stack(vectors)


def ours(paths: list[str], out: Path, batch_size: int) -> np.ndarray:
    """Return head vectors by way of a cache."""
    lalm = load_lalm("tiny", device="cpu")
    clips = find_clips(list(paths))
    begin()
    extract_to_cache(clips, out, REQUEST, lalm=lalm, storage="float32", batch_size=batch_size)
    end()
    with HeadCache(out) as cache:
        return cache.read(np.arange(len(cache))).reshape(-1, *lalm.heads.shape)


_clock: dict[str, float] = {}


def begin() -> None:
    _clock["start"] = time.perf_counter()
    _clock["loaded_mib"] = peak_mib()


def end() -> None:
    _clock.setdefault("stop", time.perf_counter())


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker(method: str, paths: list[str], vectors_to: str) -> None:
    """Run one side and print its figures."""
    with tempfile.TemporaryDirectory() as folder:
        name, _, count = method.partition(":")
        run = {
            "published": lambda: published(paths, int(count)),
            "ours": lambda: ours(paths, Path(folder) / "h.h5", int(count)),
        }
        vectors = run[name]()
    end()
    np.save(vectors_to, vectors)
    seconds = _clock["stop"] - _clock["start"]
    print(json.dumps({"rate": len(paths) / seconds, "above_loaded_mib": peak_mib() - _clock["loaded_mib"]}))


def measure(method: str, paths: list[str], folder: str) -> tuple[dict[str, float], np.ndarray]:
    vectors = f"{folder}/{method.replace(':', '-')}.npy"
    command = [sys.executable, __file__, "--worker", method, "--vectors", vectors, *paths]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1]), np.load(vectors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="a folder of clips")
    parser.add_argument("--clips", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--vectors", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.data, args.vectors)
        return
    paths = [str(clip.audio) for clip in find_clips(args.data[0])]
    paths = paths[:: max(1, len(paths) // args.clips)][: args.clips]
    methods = {
        "published, 20 passes": "published:20",
        "published, 1 pass": "published:1",
        "calm, batch 1": "ours:1",
        "calm, batch 8 (default)": "ours:8",
    }
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    vectors: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for name, method in methods.items():
                result, vectors[name] = measure(method, paths, folder)
                figures[name].append(result)
    print(f"{platform.platform()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(f"transformers {transformers.__version__}; tiny, {len(paths)} clips, median of {args.rounds} rounds")
    reference = vectors["published, 20 passes"]
    print("| | clips/s | × published, 20 | × published, 1 | peak above the loaded model, MiB | largest difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, rounds in figures.items():
        rate = statistics.median(r["rate"] for r in rounds)
        over = [
            statistics.median(r["rate"] / p["rate"] for r, p in zip(rounds, figures[base], strict=True))
            for base in ("published, 20 passes", "published, 1 pass")
        ]
        memory = statistics.median(r["above_loaded_mib"] for r in rounds)
        distance = np.abs(vectors[name] - reference).max() / np.abs(reference).max()
        print(f"| {name} | {rate:.1f} | {over[0]:.1f} | {over[1]:.2f} | {memory:.0f} | {distance:.1e} |")


if __name__ == "__main__":
    main()
