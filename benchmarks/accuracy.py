"""Few-shot accuracy of the whole family on head vectors of any kind, over seeded support sets, paired.

    calm extract --model tiny ../shared/esc10 && python benchmarks/accuracy.py heads.h5
    python benchmarks/head_vectors.py ../shared/esc10 kinds/ && python benchmarks/accuracy.py kinds/*.npz
    python benchmarks/accuracy.py kinds/*.npz --variants          # what was tried inside CALM

Every method sees the same support sets and their groups (folds, speakers), which are never queried. The interval of a
mean, and of CALM's mean lead over another method, is Student's over support sets at 95 %.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import clone

from calm import CALMClassifier, HeadCache
from calm.classifiers.base import HeadClassifier
from calm.classifiers.registry import METHODS, TITLES
from calm.fit import draw_support, expected_calibration_error, softmax

VARIANTS: dict[str, HeadClassifier] = {
    "CALM": CALMClassifier(),
    "not whitened": CALMClassifier(whitening=None),
    "whitening 0.1": CALMClassifier(whitening=0.1),
    "whitening 0.5": CALMClassifier(whitening=0.5),
    "centred only": CALMClassifier(whitening=1.0),
    "not cross-fitted": CALMClassifier(cross_fit=False),
    "heads count the same": CALMClassifier(weight_temperature=1e9),
    "weights not squared": CALMClassifier(weight_temperature=1.0),
    "weights by margin": CALMClassifier(reliability="margin"),
    "weights by probability": CALMClassifier(reliability="probability"),
    "ridge 0.5": CALMClassifier(strength=0.5),
    "vote, whitened": CALMClassifier(combine="vote"),
    "vote, whitened, margin, τ 0.1, α 5": CALMClassifier(
        combine="vote", reliability="margin", temperature=0.1, weight_temperature=1.0, shrinkage=5.0
    ),
    "published, cross-fitted": CALMClassifier.published(cross_fit=True),
    "published, α 5": CALMClassifier.published(shrinkage=5.0),
}


def half_width(values: NDArray[np.float64]) -> float:
    """Return half the 95 % interval of a mean."""
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def vectors_of(path: Path) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any]]:
    """Return head vectors, labels and groups of a cache or of an ``.npz``."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["X"], file["y"], file["groups"]
    with HeadCache(path) as cache:
        rows = cache[cache.done]
        return rows.read(), rows.labels, rows.groups


def errors_of_calibration(
    clf: HeadClassifier, X: NDArray[np.float32], y: NDArray[np.int64], p: NDArray[np.float64]
) -> list[float]:
    """Return the calibration error as predicted; for CALM, before its temperature was chosen too."""
    told = [expected_calibration_error(p, y)]
    if isinstance(clf, CALMClassifier):
        before = clf._logits(clf._scores(X)) / (0.15 if clf.combine == "joint" else 1.0)
        told.append(expected_calibration_error(softmax(before, axis=1), y))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path, nargs="+", help="head caches, or .npz files of head_vectors.py")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5, 10, 20])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--variants", action="store_true", help="compare CALM with changes to it, not with baselines")
    args = parser.parse_args()
    named = {TITLES[name]: method for name, method in METHODS.items()}
    methods = VARIANTS if args.variants else named
    print(f"{args.seeds} support sets; numpy {np.__version__}, {platform.platform()}")
    for path in args.vectors:
        X, labels, groups = vectors_of(path)
        y = np.unique(labels, return_inverse=True)[1]
        print(f"\n### {path.stem}: {len(y)} clips, {y.max() + 1} classes, {X.shape[1]} heads × {X.shape[2]}\n")
        print("| method | " + " | ".join(f"{shots} shots" for shots in args.shots) + " |")
        print("| --- |" + " --- |" * len(args.shots))
        accuracy = np.zeros((len(methods), len(args.shots), args.seeds))
        calibration: dict[str, list[list[list[float]]]] = {name: [[] for _ in args.shots] for name in methods}
        for at, shots in enumerate(args.shots):
            for seed in range(args.seeds):
                support, query = draw_support(y, shots, groups=groups, seed=seed)
                for number, (name, method) in enumerate(methods.items()):
                    clf = clone(method).fit(X[support], y[support], groups=groups[support])
                    p = np.asarray(clf.predict_proba(X[query]))
                    accuracy[number, at, seed] = 100 * (p.argmax(axis=1) == y[query]).mean()
                    calibration[name][at].append(errors_of_calibration(clf, X[query], y[query], p))
        for number, name in enumerate(methods):
            cells = []
            for at in range(len(args.shots)):
                lead = accuracy[0, at] - accuracy[number, at]
                beside = "" if number == 0 else f" ({-lead.mean():+.1f} ± {half_width(lead):.1f})"
                cells.append(f"{accuracy[number, at].mean():.1f} ± {half_width(accuracy[number, at]):.1f}{beside}")
            print(f"| {name} | " + " | ".join(cells) + " |")
        for name in list(methods)[: 1 if args.variants else None]:
            means = [np.mean(told, axis=0) for told in calibration[name]]
            cells = [f"{m[0]:.3f}" + (f" (before: {m[1]:.3f})" if len(m) > 1 else "") for m in means]
            print(f"| calibration error, {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
