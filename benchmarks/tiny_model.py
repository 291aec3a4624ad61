"""What training taught ``tiny``, beside the same model with random weights.

    python benchmarks/tiny_model.py --out benchmarks/tiny.png [--esc10 ../shared/esc10] [--model OUT/model]

Prints Markdown: zero-shot accuracy on held-out clips of what it was trained to name; few-shot accuracy on kinds that it
never met, and on ESC-10; and how far heads specialise, with a plot of which head hears which kind.
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
from calm.sounds import TRAINING_SOURCES, draw_kind, make_sounds, synthesize

PARTS = ("naming", "kinds", "esc10", "specialization", "ways")
METHODS = ("calm", "calm-published", "sav", "linear-probe")
NEW_KINDS, PER_KIND, KINDS_SEED = 20, 40, 123


def naming(lalm: LALM, n: int, options: int) -> tuple[float, float, float]:
    """Return the share of held-out clips that are named rightly among some options, and its 95 % interval."""
    rng = np.random.default_rng(31)
    true = [TRAINING_SOURCES[i % len(TRAINING_SOURCES)] for i in range(n)]
    waves = [synthesize(rng, draw_kind(rng, (source,)), 2.0).astype(np.float32) for source in true]
    if options == len(TRAINING_SOURCES):
        said = list(zero_shot(lalm, waves, list(TRAINING_SOURCES)).labels)
    else:
        said = []
        for wave, source in zip(waves, true, strict=True):
            wrong = rng.choice([s for s in TRAINING_SOURCES if s != source], options - 1, replace=False)
            labels = [str(label) for label in rng.permutation([source, *wrong])]
            said.append(zero_shot(lalm, [wave], labels).labels[0])
    right = sum(one == other for one, other in zip(said, true, strict=True))
    interval = stats.binomtest(right, n).proportion_ci(method="wilson")
    return right / n, interval.low, interval.high


def head_cache(lalm: LALM, clips: Sequence[Clip], path: Path, request: Request) -> HeadCache:
    """Extract the head vectors of clips."""
    extract_to_cache(clips, path, request.changed(model=lalm.name), lalm=lalm, storage="float32")
    return HeadCache(path)


def new_kinds(seed: int, each: int = PER_KIND) -> list[Clip]:
    """Make clips of kinds whose sources were never heard in training."""
    waves, labels = make_sounds(NEW_KINDS, each, seed=seed)
    return find_clips(list(waves), list(labels))


def table(title: str, caches: dict[str, HeadCache], shots: Sequence[int], sets: int, methods: Sequence[str]) -> None:
    """Print the accuracy of every method with every model."""
    print(f"\n### {title}, {sets} support sets, % ± half the 95 % interval\n")
    print("| method | model | " + " | ".join(f"{n} shot{'s' * (n > 1)}" for n in shots) + " |")
    print("| --- | --- |" + " --- |" * len(shots))
    found = {name: compare(cache, shots, support_sets=sets, methods=methods) for name, cache in caches.items()}
    for method in methods:
        for name, comparison in found.items():
            means, widths = 100 * comparison.mean(method), 100 * comparison.half_width(method)
            cells = " | ".join(f"{m:.1f} ± {w:.1f}" for m, w in zip(means, widths, strict=True))
            print(f"| {TITLES[method]} | {name} | {cells} |", flush=True)
        first, *others = found
        for name in others:
            ahead = 100 * (found[first].accuracy[method] - found[name].accuracy[method])
            widths = stats.sem(ahead, axis=1) * stats.t.ppf(0.975, sets - 1)
            cells = " | ".join(f"{m:+.1f} ± {w:.1f}" for m, w in zip(ahead.mean(axis=1), widths, strict=True))
            which = "difference" if len(others) == 1 else f"{first} − {name}"
            print(f"| {TITLES[method]} | {which} | {cells} |", flush=True)


def vectors(cache: HeadCache) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return head vectors ``(n, K, D)`` and classes as numbers, in order of their names."""
    X = np.asarray(cache[:])
    return X.reshape(len(X), -1, X.shape[-1]), np.unique(cache.labels.astype(str), return_inverse=True)[1]


def specialization(name: str, draws: list[dict[str, HeadCache]]) -> None:
    """Print how far heads specialise, over several draws of classes."""
    print(f"\n### Specialization on {name}: standard deviation of log odds of recall\n")
    print("| model | by draw | mean |\n| --- | --- | --- |")
    for model in draws[0]:
        found = [head_specialization(*vectors(drawn[model])) for drawn in draws]
        mean = f"{np.mean(found):.2f}"
        if len(found) > 1:
            mean += f" ± {stats.sem(found) * stats.t.ppf(0.975, len(found) - 1):.2f}"
        print(f"| {model} | {', '.join(f'{f:.2f}' for f in found)} | {mean} |", flush=True)


def plot(caches: dict[str, HeadCache], path: Path) -> None:
    """Draw which head finds which kind, for each model."""
    figure, axes = new_figure(len(caches), 6.5 * len(caches), 5.2)
    for number, (axis, (model, cache)) in enumerate(zip(np.atleast_1d(axes), caches.items(), strict=True)):
        image = axis.imshow(100 * head_recall(*vectors(cache)).T, aspect="auto", cmap="magma", vmin=0, vmax=100)
        kinds = sorted(set(cache.labels.astype(str)))
        axis.set_yticks(range(len(kinds)), kinds if number == 0 else [""] * len(kinds), fontsize=8)
        _, layers, per_layer, _ = cache.shape
        axis.set_xticks(
            np.arange(layers) * per_layer - 0.5, [f"layer {i}" for i in range(layers)], ha="left", fontsize=8
        )
        axis.set_title(model)
        figure.colorbar(image, ax=axis, fraction=0.03, label="clips found by the head alone, %")
    figure.savefig(path, dpi=120)


def ways(lalms: dict[str, LALM], data: dict[str, list[Clip]], folder: Path, sets: int) -> None:
    """Print what prompt, position, pooling and window are worth, at 5 shots."""
    base = Request("tiny")
    taken = {
        "as it is": base,
        "asked “Describe the sound.”": base.changed(question="Describe the sound."),
        "asked “How does it go?”": base.changed(question="How does it go?"),
        "asked something unknown, “Which machine is broken?”": base.changed(question="Which machine is broken?"),
        "mean over the last 4 tokens": replace(base, tokens=4),
        "mean over the last 16 tokens": replace(base, tokens=16),
        "mean over the last 64 tokens, sound among them": replace(base, tokens=64),
        "the first 2 s only": replace(base, max_seconds=2.0),
        "the first second only": replace(base, max_seconds=1.0),
    }
    print(f"\n### How head vectors are taken: 5 shots, {sets} support sets, %\n")
    print("| | model |" + " CALM, SAV |".join(f" {name}:" for name in data) + " CALM, SAV |")
    print("| --- | --- |" + " --- |" * len(data))
    for row, (title, request) in enumerate(taken.items()):
        for number, (model, lalm) in enumerate(lalms.items()):
            cells = []
            for name, clips in data.items():
                with head_cache(lalm, clips, folder / f"{number}-{name}-{row}.h5", request) as cache:
                    found = compare(cache, (5,), support_sets=sets, methods=("calm", "sav"))
                cells.append(", ".join(f"{100 * found.mean(m)[0]:.1f}" for m in ("calm", "sav")))
            print(f"| {title} | {model} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc10", type=Path, default=Path("../shared/esc10"))
    parser.add_argument("--model", nargs="+", default=["tiny", "tiny-random"], help="aliases or folders")
    parser.add_argument("--sets", type=int, default=30)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--named", type=int, default=420, help="clips to name, one in 42 of each source")
    parser.add_argument("--out", type=Path, help="where the plot goes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS[:-1], help="what is measured")
    args = parser.parse_args()
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{platform.machine()}, {os.cpu_count()} cores; {versions}")
    lalms = {name: load_lalm(name, device="cpu") for name in args.model}
    if "naming" in args.only:
        print(f"\n### Naming, zero-shot: {args.named} held-out clips, % (95 % interval)\n")
        print(f"| model | of 8 | of {len(TRAINING_SOURCES)} |\n| --- | --- | --- |")
        for model, lalm in lalms.items():
            found = [naming(lalm, args.named, options) for options in (8, len(TRAINING_SOURCES))]
            cells = (f"{100 * mean:.1f} ({100 * low:.1f} – {100 * high:.1f})" for mean, low, high in found)
            print(f"| {model} | {' | '.join(cells)} |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, request = Path(name), Request("tiny")

        def caches(clips: list[Clip], title: str) -> dict[str, HeadCache]:
            return {
                model: head_cache(lalm, clips, folder / f"{number}-{title}.h5", request)
                for number, (model, lalm) in enumerate(lalms.items())
            }

        if "kinds" in args.only:
            drawn = caches(new_kinds(KINDS_SEED), "kinds")
            table(f"{NEW_KINDS} new kinds", drawn, (1, 5, 10), args.sets, args.methods)
            if args.out is not None:
                plot(drawn, args.out)
        if "esc10" in args.only:
            table("ESC-10", caches(find_clips(args.esc10), "esc10"), (1, 5, 10, 20), args.sets, args.methods)
        if "specialization" in args.only:
            draws = [caches(new_kinds(KINDS_SEED + i), f"kinds-{i}") for i in range(1, 6)]
            specialization("five draws of new kinds", draws)
            specialization("ESC-10", [caches(find_clips(args.esc10), "esc10-again")])
        if "ways" in args.only:
            data = {"new kinds": new_kinds(KINDS_SEED, 15), "ESC-10": find_clips(args.esc10)}
            ways(lalms, data, folder, args.sets)


if __name__ == "__main__":
    main()
