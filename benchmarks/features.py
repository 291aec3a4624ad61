"""Measure the time to prepare model inputs: full-window or clip-length spectrograms, one or several threads.

python benchmarks/features.py ../shared/esc10
"""

from __future__ import annotations

import argparse
import functools
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from architectures import build

from calm.extract import LALM, find_clips, read_waveform
from calm.extract.forward.batch_loader import BatchLoader
from calm.extract.forward.batch_size import BatchSize
from calm.machine import available_cores

QUESTION = "What is the sound in this audio clip?"


def time_calls(work: Callable[[], object], times: int) -> float:
    """Return the median time of a call in seconds, after one warm-up call."""
    seconds = []
    for _ in range(times + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def time_clips(lalm: LALM, data: Path, threads: int) -> float:
    """Return the time from file to model inputs, in seconds per clip."""
    clips = find_clips(data)
    loader = BatchLoader(lalm.builder, clips, [QUESTION] * len(clips), lalm.device, full_window=lalm.needs_full_window)
    start = time.perf_counter()
    for _ in loader.batches(BatchSize(8), workers=threads):
        pass
    return (time.perf_counter() - start) / len(clips)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, available_cores()])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.platform()}, {available_cores()} cores, torch {torch.__version__}, "
        f"transformers {transformers.__version__}\n"
    )
    lalm = build("small", "cpu", torch.float32)  # with the feature extractor of Qwen2-Audio, whose window is 30 s
    wave, chat = read_waveform(find_clips(args.data)[0].audio, 16000, 5.0), lalm.builder.chat(QUESTION)
    for full_window in (True, False):
        seconds = time_calls(
            functools.partial(lalm.builder.prepare, [wave], [chat], full_window=full_window),
            20,
        )
        what = "of the whole window" if full_window else "no longer than the clip"
        print(f"inputs of {min(wave.seconds, 5.0):.0f} s for Qwen2-Audio, spectrogram {what}: {1000 * seconds:.1f} ms")
    tiny = build("tiny", "cpu", torch.float32)
    times: dict[int, list[float]] = {threads: [] for threads in args.threads}
    for _ in range(args.rounds):  # alternate, so that changes of speed affect all
        for threads, times_of_threads in times.items():
            times_of_threads.append(time_clips(tiny, args.data, threads))
    for threads, times_of_threads in times.items():
        ratio = statistics.median(one / now for one, now in zip(times[args.threads[0]], times_of_threads, strict=True))
        each = 1000 * statistics.median(times_of_threads)
        print(f"files to inputs with {threads} threads: {each:.1f} ms a clip, {ratio:.2f} ×")


if __name__ == "__main__":
    main()
