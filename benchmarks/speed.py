"""Fit and vote at the size of VGGSound on Qwen2-Audio, against a direct transcription of the formulas in torch.

    python benchmarks/speed.py                    # the table
    python benchmarks/speed.py --sweep speed.png  # cost against clips, heads and classes

The transcription is the published vote as one would write it down: an einsum over all clips, heads and classes, a
softmax of the whole tensor, an einsum with the weights. Every step runs in a process of its own; memory is the peak of
the resident set above what it was when the inputs were there. The vectors are drawn at random around class means, in
float32.
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
    """Draw head vectors around class means, a third of the heads hearing the classes."""
    means = np.random.default_rng(0).standard_normal((classes, heads, dim), dtype=np.float32)
    means[:, heads // 3 :] = 0
    rng, y = np.random.default_rng(seed), np.arange(clips) % classes
    X = np.empty((clips, heads, dim), dtype=np.float32)
    for i in range(clips):  # in place: no copy of the whole is ever there
        rng.standard_normal(out=X[i], dtype=np.float32)
        X[i] += 0.5 * means[y[i]]
    return X, y


def rate_of_sgemm() -> float:
    """Return the rate of float32 matrix products on this machine, in GFLOP/s."""
    a = np.random.default_rng(0).standard_normal((4096, 4096), dtype=np.float32)
    a @ a
    return max(2 * 4096**3 / timed(lambda: a @ a)[0] / 1e9 for _ in range(3))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def resident() -> float:
    """Return what this process has in memory now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def transcription(X: NDArray[np.float32], prototypes: Any, weights: Any, temperature: float) -> Callable[[], Any]:
    """Return the published vote, written down in torch as the formulas are."""
    import torch
    from torch.nn.functional import normalize

    x, mu, w = torch.from_numpy(X), torch.as_tensor(prototypes), torch.as_tensor(weights, dtype=torch.float32)

    def vote() -> Any:
        similarity = torch.einsum("nkd,ckd->nkc", normalize(x, dim=-1), normalize(mu, dim=-1))
        return torch.einsum("nkc,kc->nc", torch.softmax(similarity / temperature, dim=-1), w)

    return vote


def run_step(step: str, args: argparse.Namespace) -> dict[str, float]:
    """Do one step in this process."""
    kind, method = step.split("-")
    published = method != "default"
    support = kind == "fit"
    clips = args.classes * args.shots if support else args.queries
    X, y = draw(clips, args.classes, args.heads, args.dim, seed=1 if support else 2)
    classifier = CALMClassifier.published() if published else CALMClassifier()
    if not support and not args.fitted:
        few, labels = draw(2 * args.classes, args.classes, args.heads, args.dim, seed=3)
        classifier.fit(few, labels)
    elif not support:
        classifier = load(args.fitted)
    vote: Callable[[], Any] = lambda: classifier.predict(X)  # noqa: E731
    if method == "transcription":
        vote = transcription(X, classifier.prototypes_, classifier.head_weights_, 0.07)
    before = resident()
    if support:
        seconds, _ = timed(lambda: classifier.fit(X, y))
    else:
        seconds = min(timed(vote)[0] for _ in range(args.repeats))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    if support and args.fitted:
        classifier.save(args.fitted)
    return {"seconds": seconds, "MiB": memory}


def in_a_process(step: str, **settings: Any) -> dict[str, float]:
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, __file__, f"--step={step}", *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_table(args: argparse.Namespace) -> None:
    size = {"classes": args.classes, "heads": args.heads, "dim": args.dim}
    sgemm = rate_of_sgemm()
    print(
        f"{platform.platform()}, {available_cores()} cores, numpy {np.__version__}; "
        f"float32 matrix products {sgemm:.0f} GFLOP/s"
    )
    print(f"{args.classes} classes × {args.shots} shots, {args.heads} heads × {args.dim}\n")
    print("| step | seconds | peak above the inputs, MiB |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        fitted = {name: f"{folder}/{name}.safetensors" for name in ("default", "published")}
        for name, path in fitted.items():
            told = in_a_process(f"fit-{name}", shots=args.shots, fitted=path, **size)
            print(f"| fit, {name} | {told['seconds']:.1f} | {told['MiB']:.0f} |", flush=True)
        told = in_a_process("predict-transcription", queries=2000, fitted=fitted["published"], repeats=2, **size)
        naive = told["seconds"]
        print(f"| predict 2000, transcription | {naive:.1f} | {told['MiB']:.0f} |", flush=True)
        for queries in (2000, 15000):
            products = 2 * queries * args.heads * args.dim * args.classes / 1e9
            for name, path in fitted.items():
                told = in_a_process(f"predict-{name}", queries=queries, fitted=path, repeats=2, **size)
                beside = f"× {naive * queries / 2000 / told['seconds']:.1f} of the transcription"
                rate = f"{products / told['seconds']:.0f} GFLOP/s of products with the classes"
                print(
                    f"| predict {queries}, {name} ({beside}, {rate}) | {told['seconds']:.1f} | {told['MiB']:.0f} |",
                    flush=True,
                )


def plot_sweep(path: Path) -> None:
    """Vary one size at a time, the others being half of Qwen2-Audio's heads, 50 classes, 1,000 queries, 5 shots."""
    import matplotlib.pyplot as plt

    middle = {"queries": 1000, "heads": 512, "classes": 50, "shots": 5, "dim": 128}
    sweeps = {"queries": (500, 1000, 2000, 4000), "heads": (128, 256, 512, 1024), "classes": (25, 50, 100, 200)}
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6))
    panels = [("predict", name, values) for name, values in sweeps.items()] + [("fit", "shots", (2, 5, 10, 20, 40))]
    for axis, (kind, name, values) in zip(axes, panels, strict=True):
        for method in ("default", "published"):
            seconds = [in_a_process(f"{kind}-{method}", **(middle | {name: v}), repeats=3)["seconds"] for v in values]
            print(kind, name, method, dict(zip(values, np.round(seconds, 3).tolist(), strict=True)), flush=True)
            axis.plot(values, seconds, "o-", label=method)
        axis.set(xlabel=name, title=f"{kind}, {middle['classes']} classes" if name != "classes" else kind)
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
    parser.add_argument("--sweep", type=Path, help="plot cost against each size, into this file")
    args = parser.parse_args()
    if args.step:
        print(json.dumps(run_step(args.step, args)))
    elif args.sweep:
        plot_sweep(args.sweep)
    else:
        print_table(args)


if __name__ == "__main__":
    main()
