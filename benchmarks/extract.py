"""Compare the speed and memory of extraction with the procedure published with CALM.

The published procedure decodes one clip at a time and runs the whole model on it, including the language-model head. It
stores the input of every output projection (o_proj) at every position, repeats this 20 times, and takes the last
position. This script reimplements it from that description. Each method runs in its own process, so that the peak
memory of the process can be measured. The methods alternate, so that changes of the machine's speed affect all of them.
Times start when the model is loaded and end when the vectors are stored: in a cache for calm, in memory for the
published procedure.

    python benchmarks/extract.py ../shared/esc10
    python benchmarks/extract.py ../shared/esc10 --model qwen2-audio --device cuda --dtype bfloat16 --rounds 1

The second command builds the full-size architecture with random weights. A second table shows the forward passes
alone: their share of the device's matrix-product rate, and the cost of recording. On a GPU, the first table also
shows the share of time in which the device is idle.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from architectures import build
from gpu_time import GpuTime
from torch.utils.flop_counter import FlopCounterMode

from calm.extract import (
    DEFAULT_QUESTION,
    LALM,
    HeadCache,
    Request,
    extract_to_cache,
    find_clips,
    read_waveform,
    record_heads,
)

_MATRIX = {"cuda": 8192, "cpu": 1024}  #: matrix width for measuring the matrix-product rate


def published(lalm: LALM, paths: Sequence[str], passes: int) -> np.ndarray:
    """Return head vectors (clips, layers, heads, dim) by the published procedure."""
    prompt = lalm.builder.chat(DEFAULT_QUESTION)
    kept: dict[int, torch.Tensor] = {}
    for layer, projection in enumerate(lalm.heads.projections):
        projection.register_forward_pre_hook(lambda _, args, layer=layer: kept.__setitem__(layer, args[0].clone()))
    vectors = []
    for path in paths:
        clip = read_waveform(path, lalm.builder.sampling_rate, lalm.builder.window_seconds)
        inputs = lalm.inputs([clip], [prompt])
        for _ in range(passes):
            with torch.no_grad():
                lalm.model(**inputs)
        every_position = torch.stack([kept[layer] for layer in range(len(kept))], dim=1)
        vectors.append(every_position[0, :, -1].reshape(lalm.heads.shape).float().cpu().numpy())
    return np.stack(vectors)


def ours(lalm: LALM, paths: Sequence[str], out: Path, batch_size: int | None, workers: int | None) -> np.ndarray:
    """Return head vectors (clips, layers, heads, dim) by calm, read back from a cache."""
    clips = find_clips(list(paths))
    extract_to_cache(
        clips, out, Request(lalm.name), lalm=lalm, storage="float32", batch_size=batch_size, workers=workers
    )
    with HeadCache(out) as cache:
        return cache.read(np.arange(len(cache))).reshape(-1, *lalm.heads.shape)


def peak_mib(device: torch.device) -> float:
    """Return the peak memory so far, of the GPU or else of the process, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def synchronized(device: torch.device) -> float:
    """Return the time after all work queued on the device is done, in seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def worker(args: argparse.Namespace) -> None:
    """Run one method in this process, and print its figures as JSON."""
    lalm = build(args.model, args.device, getattr(torch, args.dtype))
    method, _, count = args.worker.partition(":")
    gpu = GpuTime(lalm) if method == "ours" and lalm.device.type == "cuda" else None
    loaded, start = peak_mib(lalm.device), synchronized(lalm.device)
    with tempfile.TemporaryDirectory() as folder:
        if method == "published":
            vectors = published(lalm, args.data, int(count))
        else:
            vectors = ours(lalm, args.data, Path(folder) / "h.h5", int(count) or None, args.workers)
        seconds = synchronized(lalm.device) - start
    np.save(args.vectors, vectors)
    figures = {"rate": len(args.data) / seconds, "above_loaded_mib": peak_mib(lalm.device) - loaded}
    if gpu is not None:
        figures["idle"] = 1 - gpu.seconds() / seconds
    print(json.dumps(figures))


def measure(
    args: argparse.Namespace, method: str, paths: list[str], folder: str
) -> tuple[dict[str, float], np.ndarray]:
    vectors = f"{folder}/{method.replace(':', '-')}.npy"
    command = [sys.executable, __file__, "--worker", method, "--vectors", vectors, "--model", args.model]
    command += ["--device", args.device, "--dtype", args.dtype, *paths]
    command += ["--workers", str(args.workers)] if args.workers else []
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{method}: {result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1]), np.load(vectors)


def against_published(args: argparse.Namespace, paths: list[str]) -> None:
    """Print the table of all methods, from files to stored vectors."""
    methods = {f"published, {passes} pass{'es' * (passes > 1)}": f"published:{passes}" for passes in (20, 1)}
    methods |= {"calm, batch 1": "ours:1", "calm, default batches": "ours:0"}
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    vectors: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            for name, method in methods.items():
                result, vectors[name] = measure(args, method, paths, folder)
                figures[name].append(result)
    many, one = list(methods)[:2]
    print("| | clips/s | × published, 20 | × published, 1 | peak above the loaded model, MiB | device idle | ", end="")
    print("largest difference |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name, rounds in figures.items():
        rate = statistics.median(r["rate"] for r in rounds)
        over = [
            statistics.median(r["rate"] / p["rate"] for r, p in zip(rounds, figures[base], strict=True))
            for base in (many, one)
        ]
        memory = statistics.median(r["above_loaded_mib"] for r in rounds)
        idle = f"{100 * statistics.median(r['idle'] for r in rounds):.0f} %" if "idle" in rounds[0] else "–"
        distance = np.abs(vectors[name] - vectors[many]).max() / np.abs(vectors[many]).max()
        print(f"| {name} | {rate:.1f} | {over[0]:.1f} | {over[1]:.2f} | {memory:.0f} | {idle} | {distance:.1e} |")


def measure_passes(args: argparse.Namespace, paths: list[str]) -> None:
    """Print the speed of forward passes alone, with batches in memory, and the cost of recording."""
    lalm = build(args.model, args.device, getattr(torch, args.dtype))
    clips = [read_waveform(path, lalm.builder.sampling_rate, lalm.builder.window_seconds) for path in paths]
    best = measure_matrix_rate(lalm.device, getattr(torch, args.dtype))
    print(f"\nmatrix products of {_MATRIX[lalm.device.type]}³ in {args.dtype}: {best / 1e12:.2f} TFLOP/s\n")
    last = len(lalm.heads.projections) - 1
    print("| batch | clips/s | GFLOP a clip | share of that rate | recording, time | recording, peak memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in args.batch_sizes:
        waves = [clips[i % len(clips)] for i in range(size)]
        inputs = lalm.on_device(
            lalm.builder.prepare(waves, [lalm.builder.chat(DEFAULT_QUESTION)] * size, full_window=False)
        )
        model = lalm.model_for(inputs)
        with FlopCounterMode(display=False) as counter:
            record_heads(model, lalm.heads, inputs)
        sides: dict[str, list[int] | None] = {"all": None, "last": [last]}
        times: dict[str, list[float]] = {name: [] for name in sides}
        peaks: dict[str, float] = {}
        for _ in range(args.repeats):  # alternate, so that changes of speed affect both
            for name, layers in sides.items():
                with track_peak_memory(lalm.device) as peak:
                    start = synchronized(lalm.device)
                    record_heads(model, lalm.heads, inputs, layers=layers)
                    times[name].append(synchronized(lalm.device) - start)
                peaks[name] = peak()
        all_layers, last_layer = (statistics.median(times[name]) for name in ("all", "last"))
        share = counter.get_total_flops() / all_layers / best
        memory = f"{100 * (peaks['all'] / peaks['last'] - 1):+.2f} %" if peaks["last"] else "–"
        rate = size / all_layers
        flops = counter.get_total_flops() / size / 1e9
        cost = f"{100 * (all_layers / last_layer - 1):+.2f} %"
        print(f"| {size} | {rate:.1f} | {flops:.1f} | {100 * share:.0f} % | {cost} | {memory} |", flush=True)


@contextmanager
def track_peak_memory(device: torch.device) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the peak GPU memory since now; 0 on a CPU, whose peak cannot be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield lambda: float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0.0


def measure_matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the rate of large matrix products, in operations per second."""
    width = _MATRIX[device.type]
    a, b = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    start = synchronized(device)
    for _ in range(10):
        a @ b
    return 10 * 2 * width**3 / (synchronized(device) - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="folder of clips")
    parser.add_argument("--model", default="tiny", choices=("tiny", "small", "qwen2-audio", "qwen2.5-omni"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--clips", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, help="threads that prepare inputs; by default as in calm extract")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=5, help="repetitions of each forward pass")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--vectors", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    paths = [str(clip.audio) for clip in find_clips(args.data[0])]
    paths = paths[:: max(1, len(paths) // args.clips)][: args.clips]
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(
        f"{platform.platform()}, {device}, torch {torch.__version__}, transformers {transformers.__version__}; ", end=""
    )
    print(f"{args.model} in {args.dtype}, {len(paths)} clips, median of {args.rounds} rounds\n")
    against_published(args, paths)
    measure_passes(args, paths)


if __name__ == "__main__":
    main()
