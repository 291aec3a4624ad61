"""Compare ``tiny`` with the same model with random weights.

    python benchmarks/tiny_model.py --out benchmarks/tiny.png [--esc10 ../shared/esc10] [--model OUT/model]

The script prints Markdown tables: zero-shot accuracy on new clips of the training sources, few-shot accuracy on kinds
of held-out sources and on ESC-10, and the specialization of heads. The plot shows which head finds which kind.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from scipy import stats

from calm import HeadCache, compare, zero_shot
from calm.classifiers.registry import TITLES
from calm.evaluation.plots import new_figure
from calm.extract import LALM, Clip, Request, extract_to_cache, find_clips, load_lalm
from calm.fit import head_recall, head_specialization
from calm.sounds import RATE, TRAINING_SOURCES, draw_kind, make_sounds, synthesize

PARTS = ("naming", "kinds", "esc10", "specialization", "ways")
METHODS = ("calm", "calm-published", "sav", "linear-probe")
NEW_KINDS, PER_KIND, KINDS_SEED = 20, 40, 123


def measure_naming(lalm: LALM, n: int, options: int) -> tuple[float, float, float]:
    """Return the zero-shot accuracy of naming sources among ``options`` of them, and its 95 % confidence interval."""
    rng = np.random.default_rng(31)
    true_sources = [TRAINING_SOURCES[i % len(TRAINING_SOURCES)] for i in range(n)]
    waves = [synthesize(rng, draw_kind(rng, (source,)), 2.0).astype(np.float32) for source in true_sources]
    if options == len(TRAINING_SOURCES):
        predicted = list(zero_shot(lalm, waves, list(TRAINING_SOURCES), sampling_rate=RATE).labels)
    else:
        predicted = []
        for wave, source in zip(waves, true_sources, strict=True):
            wrong = rng.choice([s for s in TRAINING_SOURCES if s != source], options - 1, replace=False)
            labels = [str(label) for label in rng.permutation([source, *wrong])]
            predicted.append(zero_shot(lalm, [wave], labels, sampling_rate=RATE).labels[0])
    right = sum(label == source for label, source in zip(predicted, true_sources, strict=True))
    interval = stats.binomtest(right, n).proportion_ci(method="wilson")
    return right / n, interval.low, interval.high


def extract_cache(lalm: LALM, clips: Sequence[Clip], path: Path, request: Request) -> HeadCache:
    """Extract the head vectors of clips into a cache, and open it."""
    extract_to_cache(clips, path, request.changed(model=lalm.name), lalm=lalm, storage="float32")
    return HeadCache(path)


def make_new_kinds(seed: int, each: int = PER_KIND) -> list[Clip]:
    """Synthesize clips of kinds whose sources were held out of training."""
    waves, labels = make_sounds(NEW_KINDS, each, seed=seed)
    return find_clips(waves, labels, sampling_rate=RATE)


def print_accuracy(
    title: str, caches: dict[str, HeadCache], shots: Sequence[int], sets: int, methods: Sequence[str]
) -> None:
    """Print the accuracy of every method with every model, and paired differences between models."""
    print(f"\n### {title}, {sets} support sets, % ± half the 95 % interval\n")
    print("| method | model | " + " | ".join(f"{n} shot{'s' * (n > 1)}" for n in shots) + " |")
    print("| --- | --- |" + " --- |" * len(shots))
    comparisons = {name: compare(cache, shots, support_sets=sets, methods=methods) for name, cache in caches.items()}
    for method in methods:
        for name, comparison in comparisons.items():
            means, widths = 100 * comparison.mean(method), 100 * comparison.half_width(method)
            cells = " | ".join(f"{m:.1f} ± {w:.1f}" for m, w in zip(means, widths, strict=True))
            print(f"| {TITLES[method]} | {name} | {cells} |", flush=True)
        first, *others = comparisons
        for name in others:
            difference = 100 * (comparisons[first].accuracy[method] - comparisons[name].accuracy[method])
            widths = stats.sem(difference, axis=1) * stats.t.ppf(0.975, sets - 1)
            cells = " | ".join(f"{m:+.1f} ± {w:.1f}" for m, w in zip(difference.mean(axis=1), widths, strict=True))
            which = "difference" if len(others) == 1 else f"{first} − {name}"
            print(f"| {TITLES[method]} | {which} | {cells} |", flush=True)


def read_vectors(cache: HeadCache) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return head vectors (clips, heads, dim), and class numbers in the order of class names."""
    X = np.asarray(cache[:])
    return X.reshape(len(X), -1, X.shape[-1]), np.unique(cache.labels.astype(str), return_inverse=True)[1]


def print_specialization(name: str, draws: list[dict[str, HeadCache]]) -> None:
    """Print the specialization of heads on each draw of classes, and its mean."""
    print(f"\n### Specialization on {name}: standard deviation of log odds of recall\n")
    print("| model | by draw | mean |\n| --- | --- | --- |")
    for model in draws[0]:
        found = [head_specialization(*read_vectors(drawn[model])) for drawn in draws]
        mean = f"{np.mean(found):.2f}"
        if len(found) > 1:
            mean += f" ± {stats.sem(found) * stats.t.ppf(0.975, len(found) - 1):.2f}"
        print(f"| {model} | {', '.join(f'{f:.2f}' for f in found)} | {mean} |", flush=True)


def plot(caches: dict[str, HeadCache], path: Path) -> None:
    """Plot the share of clips of each kind that each head finds, for each model."""
    figure, axes = new_figure(len(caches), 6.5 * len(caches), 5.2)
    for number, (axis, (model, cache)) in enumerate(zip(np.atleast_1d(axes), caches.items(), strict=True)):
        image = axis.imshow(100 * head_recall(*read_vectors(cache)).T, aspect="auto", cmap="magma", vmin=0, vmax=100)
        kinds = sorted(set(cache.labels.astype(str)))
        axis.set_yticks(range(len(kinds)), kinds if number == 0 else [""] * len(kinds), fontsize=8)
        _, layers, per_layer, _ = cache.shape
        axis.set_xticks(
            np.arange(layers) * per_layer - 0.5, [f"layer {i}" for i in range(layers)], ha="left", fontsize=8
        )
        axis.set_title(model)
        figure.colorbar(image, ax=axis, fraction=0.03, label="clips found by the head alone, %")
    figure.savefig(path, dpi=120)


def print_variants(lalms: dict[str, LALM], data: dict[str, list[Clip]], folder: Path, sets: int) -> None:
    """Print the accuracy at 5 shots with other questions, token positions, pooling and windows."""
    base = Request("tiny")
    requests = {
        "default": base,
        "question “Describe the sound.”": base.changed(question="Describe the sound."),
        "question “How does it go?”": base.changed(question="How does it go?"),
        "untrained question “Which machine is broken?”": base.changed(question="Which machine is broken?"),
        "mean over the last 4 tokens": replace(base, tokens=4),
        "mean over the last 16 tokens": replace(base, tokens=16),
        "mean over the last 64 tokens, including audio": replace(base, tokens=64),
        "the first 2 s only": replace(base, max_seconds=2.0),
        "the first second only": replace(base, max_seconds=1.0),
    }
    print(f"\n### How head vectors are taken: 5 shots, {sets} support sets, %\n")
    print("| | model |" + " CALM, SAV |".join(f" {name}:" for name in data) + " CALM, SAV |")
    print("| --- | --- |" + " --- |" * len(data))
    for row, (title, request) in enumerate(requests.items()):
        for number, (model, lalm) in enumerate(lalms.items()):
            cells = []
            for name, clips in data.items():
                with extract_cache(lalm, clips, folder / f"{number}-{name}-{row}.h5", request) as cache:
                    found = compare(cache, (5,), support_sets=sets, methods=("calm", "sav"))
                cells.append(", ".join(f"{100 * found.mean(m)[0]:.1f}" for m in ("calm", "sav")))
            print(f"| {title} | {model} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc10", type=Path, default=Path("../shared/esc10"))
    parser.add_argument("--model", nargs="+", default=["tiny", "tiny-random"], help="aliases or folders of models")
    parser.add_argument("--sets", type=int, default=30)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--named", type=int, default=420, help="number of clips to name, equally many of each source")
    parser.add_argument("--out", type=Path, help="file of the plot")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS[:-1], help="measurements to make")
    args = parser.parse_args()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{platform.machine()}, {os.cpu_count()} cores; {versions}")
    lalms = {name: load_lalm(name, device="cpu") for name in args.model}
    if "naming" in args.only:
        print(f"\n### Naming, zero-shot: {args.named} held-out clips, % (95 % interval)\n")
        print(f"| model | of 8 | of {len(TRAINING_SOURCES)} |\n| --- | --- | --- |")
        for model, lalm in lalms.items():
            found = [measure_naming(lalm, args.named, options) for options in (8, len(TRAINING_SOURCES))]
            cells = (f"{100 * mean:.1f} ({100 * low:.1f} – {100 * high:.1f})" for mean, low, high in found)
            print(f"| {model} | {' | '.join(cells)} |", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder, request = Path(temporary), Request("tiny")

        def extract_caches(clips: list[Clip], title: str) -> dict[str, HeadCache]:
            return {
                model: extract_cache(lalm, clips, folder / f"{number}-{title}.h5", request)
                for number, (model, lalm) in enumerate(lalms.items())
            }

        if "kinds" in args.only:
            drawn = extract_caches(make_new_kinds(KINDS_SEED), "kinds")
            print_accuracy(f"{NEW_KINDS} new kinds", drawn, (1, 5, 10), args.sets, args.methods)
            if args.out is not None:
                plot(drawn, args.out)
        if "esc10" in args.only:
            esc10 = extract_caches(find_clips(args.esc10), "esc10")
            print_accuracy("ESC-10", esc10, (1, 5, 10, 20), args.sets, args.methods)
        if "specialization" in args.only:
            draws = [extract_caches(make_new_kinds(KINDS_SEED + i), f"kinds-{i}") for i in range(1, 6)]
            print_specialization("five draws of new kinds", draws)
            print_specialization("ESC-10", [extract_caches(find_clips(args.esc10), "esc10-again")])
        if "ways" in args.only:
            data = {"new kinds": make_new_kinds(KINDS_SEED, 15), "ESC-10": find_clips(args.esc10)}
            print_variants(lalms, data, folder, args.sets)


if __name__ == "__main__":
    main()
