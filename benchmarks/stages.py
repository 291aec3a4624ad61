"""Measure the time of each stage of an extraction: decoding, features, model, storage, and waiting for clips.

Each stage is timed in its own thread, over a whole extraction from files to a cache. Decoding and features run in
threads ahead of the model, so the times add up to more than the wall time. GPU time is measured by CUDA events.

    python benchmarks/stages.py ../shared/esc10
    python benchmarks/stages.py ../shared/esc10 --model qwen2-audio --device cuda --dtype bfloat16
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers
from architectures import build
from gpu_time import GpuTime

from calm.extract import InputBuilder, Request, extract_to_cache, find_clips
from calm.extract.cache.writer import CacheWriter
from calm.extract.forward import batch_loader, recorder

STAGES = {
    "reading lengths": (batch_loader, "audio_duration"),
    "decoding, resampling": (batch_loader, "decode_clip"),
    "features, tokens": (InputBuilder, "row"),
    "the model, as the CPU sees it": (recorder, "record_heads"),
    "storing": (CacheWriter, "write"),
}


@contextmanager
def timed(where: Any, name: str, times: list[tuple[float, float]]) -> Iterator[None]:
    """Append the wall time and the CPU time of every call of a function to ``times``."""
    function = getattr(where, name)

    def timed_function(*args: Any, **kwargs: Any) -> Any:
        wall, work = time.perf_counter(), time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            times.append((time.perf_counter() - wall, time.thread_time() - work))

    with mock.patch.object(where, name, timed_function):
        yield


def time_waiting(times: list[tuple[float, float]]) -> Callable[..., Iterator[Any]]:
    """Return a ``BatchLoader.batches`` that appends the time until the next batch is ready to ``times``."""
    batches = batch_loader.BatchLoader.batches

    def timed_batches(*args: Any, **kwargs: Any) -> Iterator[Any]:
        iterator = iter(batches(*args, **kwargs))
        while True:
            wall, work = time.perf_counter(), time.thread_time()
            batch = next(iterator, None)
            times.append((time.perf_counter() - wall, time.thread_time() - work))
            if batch is None:
                return
            yield batch

    return timed_batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="tiny", choices=("tiny", "small", "qwen2-audio", "qwen2.5-omni"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--workers", type=int)
    parser.add_argument("--rounds", type=int, default=1, help="number of passes over the clips")
    args = parser.parse_args()
    lalm = build(args.model, args.device, getattr(torch, args.dtype))
    clips = find_clips(args.data)
    clips = [type(clip)(clip.audio, f"{i} {clip.name}") for i in range(args.rounds) for clip in clips]
    spent: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        out = Path(folder) / "warm.h5"
        extract_to_cache(clips[:64], out, Request(lalm.name), lalm=lalm, workers=args.workers)
        for stage, (where, name) in STAGES.items():
            patches.enter_context(timed(where, name, spent[stage]))
        patches.enter_context(
            mock.patch.object(batch_loader.BatchLoader, "batches", time_waiting(spent["waiting for clips"]))
        )
        gpu = GpuTime(lalm) if lalm.device.type == "cuda" else None
        start = time.perf_counter()
        extract_to_cache(clips, Path(folder) / "h.h5", Request(lalm.name), lalm=lalm, workers=args.workers)
        wall = time.perf_counter() - start
    where = torch.cuda.get_device_name() if lalm.device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{platform.platform()}, {where}, torch {torch.__version__}, transformers {transformers.__version__}; ", end=""
    )
    print(f"{args.model} in {args.dtype}, {len(clips)} clips, {len(clips) / wall:.1f} clips/s\n")
    print("| stage | ms a clip, wall | ms a clip, CPU | share of the wall's time |\n| --- | --- | --- | --- |")
    for stage, calls in spent.items():
        walls, works = (1000 * sum(times) / len(clips) for times in zip(*calls, strict=True))
        print(f"| {stage} | {walls:.2f} | {works:.2f} | {100 * walls * len(clips) / 1000 / wall:.0f} % |")
    if gpu is not None:
        print(f"\nthe GPU works {100 * gpu.seconds() / wall:.0f} % of the time")


if __name__ == "__main__":
    main()
