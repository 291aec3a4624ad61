"""Measure fit and predict at the size of VGGSound on Qwen2-Audio, against a direct implementation in torch.

    python benchmarks/speed.py                    # the table
    python benchmarks/speed.py --sweep speed.png  # time against queries, heads, classes and shots

The direct implementation ("transcription") follows the formula of the published vote: an einsum over all clips, heads
and classes, a softmax of the whole tensor, and an einsum with the weights. Each step runs in its own process. Memory is
the peak of the resident set, minus the resident set with the inputs in memory. The head vectors are random float32
vectors around class means.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm import CALMClassifier, load
from calm.machine import available_cores


def draw(clips: int, classes: int, heads: int, dim: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Draw head vectors around class means; only the first third of the heads separates the classes."""
    means = np.random.default_rng(0).standard_normal((classes, heads, dim), dtype=np.float32)
    means[:, heads // 3 :] = 0
    rng, y = np.random.default_rng(seed), np.arange(clips) % classes
    X = np.empty((clips, heads, dim), dtype=np.float32)
    for i in range(clips):  # in place, to keep no second copy in memory
        rng.standard_normal(out=X[i], dtype=np.float32)
        X[i] += 0.5 * means[y[i]]
    return X, y


def measure_sgemm_rate() -> float:
    """Return the rate of float32 matrix products on this machine, in GFLOP/s."""
    a = np.random.default_rng(0).standard_normal((4096, 4096), dtype=np.float32)
    a @ a
    return max(2 * 4096**3 / timed(lambda: a @ a)[0] / 1e9 for _ in range(3))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def resident() -> float:
    """Return the resident set of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def transcription(X: NDArray[np.float32], prototypes: Any, weights: Any, temperature: float) -> Callable[[], Any]:
    """Return a function that computes the published vote in torch, directly from the formula."""
    import torch
    from torch.nn.functional import normalize

    x, mu, w = torch.from_numpy(X), torch.as_tensor(prototypes), torch.as_tensor(weights, dtype=torch.float32)

    def vote() -> Any:
        similarity = torch.einsum("nkd,ckd->nkc", normalize(x, dim=-1), normalize(mu, dim=-1))
        return torch.einsum("nkc,kc->nc", torch.softmax(similarity / temperature, dim=-1), w)

    return vote


def run_step(step: str, args: argparse.Namespace) -> dict[str, float]:
    """Run one step in this process, and return its time and memory."""
    kind, method = step.split("-")
    published = method != "default"
    is_fit = kind == "fit"
    clips = args.classes * args.shots if is_fit else args.queries
    X, y = draw(clips, args.classes, args.heads, args.dim, seed=1 if is_fit else 2)
    classifier = CALMClassifier.published() if published else CALMClassifier()
    if not is_fit and not args.fitted:
        support_X, support_y = draw(2 * args.classes, args.classes, args.heads, args.dim, seed=3)
        classifier.fit(support_X, support_y)
    elif not is_fit:
        classifier = load(args.fitted)
    vote: Callable[[], Any] = lambda: classifier.predict(X)  # noqa: E731
    if method == "transcription":
        vote = transcription(X, classifier.prototypes_, classifier.head_weights_, 0.07)
    before = resident()
    if is_fit:
        seconds, _ = timed(lambda: classifier.fit(X, y))
    else:
        seconds = min(timed(vote)[0] for _ in range(args.repeats))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if is_fit and args.fitted:
        classifier.save(args.fitted)
    return {"seconds": seconds, "MiB": memory}


def run_in_process(step: str, **settings: Any) -> dict[str, float]:
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, __file__, f"--step={step}", *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_table(args: argparse.Namespace) -> None:
    size = {"classes": args.classes, "heads": args.heads, "dim": args.dim}
    sgemm = measure_sgemm_rate()
    print(
        f"{platform.platform()}, {available_cores()} cores, numpy {np.__version__}; "
        f"float32 matrix products {sgemm:.0f} GFLOP/s"
    )
    print(f"{args.classes} classes × {args.shots} shots, {args.heads} heads × {args.dim}\n")
    print("| step | seconds | peak above the inputs, MiB |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        fitted = {name: f"{folder}/{name}.safetensors" for name in ("default", "published")}
        for name, path in fitted.items():
            figures = run_in_process(f"fit-{name}", shots=args.shots, fitted=path, **size)
            print(f"| fit, {name} | {figures['seconds']:.1f} | {figures['MiB']:.0f} |", flush=True)
        figures = run_in_process("predict-transcription", queries=2000, fitted=fitted["published"], repeats=2, **size)
        naive = figures["seconds"]
        print(f"| predict 2000, transcription | {naive:.1f} | {figures['MiB']:.0f} |", flush=True)
        for queries in (2000, 15000):
            products = 2 * queries * args.heads * args.dim * args.classes / 1e9
            for name, path in fitted.items():
                figures = run_in_process(f"predict-{name}", queries=queries, fitted=path, repeats=2, **size)
                seconds = figures["seconds"]
                speedup = f"× {naive * queries / 2000 / seconds:.1f} of the transcription"
                rate = f"{products / seconds:.0f} GFLOP/s of products with the classes"
                row = f"predict {queries}, {name} ({speedup}, {rate})"
                print(f"| {row} | {seconds:.1f} | {figures['MiB']:.0f} |", flush=True)


def plot_sweep(path: Path) -> None:
    """Plot the time against each size; the other sizes keep their defaults, with half of the heads of Qwen2-Audio."""
    import matplotlib.pyplot as plt

    defaults = {"queries": 1000, "heads": 512, "classes": 50, "shots": 5, "dim": 128}
    sweeps = {"queries": (500, 1000, 2000, 4000), "heads": (128, 256, 512, 1024), "classes": (25, 50, 100, 200)}
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6))
    panels = [("predict", name, values) for name, values in sweeps.items()] + [("fit", "shots", (2, 5, 10, 20, 40))]
    for axis, (kind, name, values) in zip(axes, panels, strict=True):
        for method in ("default", "published"):
            sizes = [defaults | {name: value} for value in values]
            seconds = [run_in_process(f"{kind}-{method}", **size, repeats=3)["seconds"] for size in sizes]
            print(kind, name, method, dict(zip(values, np.round(seconds, 3).tolist(), strict=True)), flush=True)
            axis.plot(values, seconds, "o-", label=method)
        axis.set(xlabel=name, title=f"{kind}, {defaults['classes']} classes" if name != "classes" else kind)
        axis.set_xlim(0)
        axis.set_ylim(0)
    axes[0].set_ylabel("seconds")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=309)
    parser.add_argument("--shots", type=int, default=20)
    parser.add_argument("--heads", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--fitted", default="", help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--sweep", type=Path, help="file for a plot of the time against each size")
    args = parser.parse_args()
    if args.step:
        print(json.dumps(run_step(args.step, args)))
    elif args.sweep:
        plot_sweep(args.sweep)
    else:
        print_table(args)


if __name__ == "__main__":
    main()
