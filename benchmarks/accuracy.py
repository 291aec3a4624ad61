"""Measure the few-shot accuracy and calibration of all methods on any head vectors.

    calm extract --model tiny ../shared/esc10 && python benchmarks/accuracy.py heads.h5
    python benchmarks/head_vectors.py ../shared/esc10 kinds/ && python benchmarks/accuracy.py kinds/*.npz
    python benchmarks/accuracy.py kinds/*.npz --variants          # variants of CALM

All methods are fitted on the same seeded support sets. Groups (folds, speakers) of the support set are never queried.
The table shows mean accuracies and, in brackets, the paired difference of each method to the first one, with 95 %
confidence intervals from Student's t distribution over support sets.
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
    """Return half the 95 % confidence interval of the mean."""
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def read_vectors(path: Path) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any]]:
    """Read head vectors, labels and groups from a head cache or an ``.npz`` file."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            return file["X"], file["y"], file["groups"]
    with HeadCache(path) as cache:
        rows = cache[cache.done]
        return rows.read(), rows.labels, rows.groups


def calibration_errors(
    clf: HeadClassifier, X: NDArray[np.float32], y: NDArray[np.int64], p: NDArray[np.float64]
) -> list[float]:
    """Return the calibration error; for CALM, also the one without temperature scaling."""
    errors = [expected_calibration_error(p, y)]
    if isinstance(clf, CALMClassifier):
        unscaled = clf._logits(clf._scores(X)) / (0.15 if clf.combine == "joint" else 1.0)
        errors.append(expected_calibration_error(softmax(unscaled, axis=1), y))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path, nargs="+", help="head caches, or .npz files written by head_vectors.py")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5, 10, 20])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--variants", action="store_true", help="compare CALM with its variants, not with baselines")
    args = parser.parse_args()
    named = {TITLES[name]: method for name, method in METHODS.items()}
    methods = VARIANTS if args.variants else named
    print(f"{args.seeds} support sets; numpy {np.__version__}, {platform.platform()}")
    for path in args.vectors:
        X, labels, groups = read_vectors(path)
        y = np.unique(labels, return_inverse=True)[1]
        print(f"\n### {path.stem}: {len(y)} clips, {y.max() + 1} classes, {X.shape[1]} heads × {X.shape[2]}\n")
        print("| method | " + " | ".join(f"{shots} shots" for shots in args.shots) + " |")
        print("| --- |" + " --- |" * len(args.shots))
        accuracy = np.zeros((len(methods), len(args.shots), args.seeds))
        calibration: dict[str, list[list[list[float]]]] = {name: [[] for _ in args.shots] for name in methods}
        for column, shots in enumerate(args.shots):
            for seed in range(args.seeds):
                support, query = draw_support(y, shots, groups=groups, seed=seed)
                for number, (name, method) in enumerate(methods.items()):
                    clf = clone(method).fit(X[support], y[support], groups=groups[support])
                    p = np.asarray(clf.predict_proba(X[query]))
                    accuracy[number, column, seed] = 100 * (p.argmax(axis=1) == y[query]).mean()
                    calibration[name][column].append(calibration_errors(clf, X[query], y[query], p))
        for number, name in enumerate(methods):
            cells = []
            for column in range(len(args.shots)):
                lead = accuracy[0, column] - accuracy[number, column]
                difference = "" if number == 0 else f" ({-lead.mean():+.1f} ± {half_width(lead):.1f})"
                accuracies = accuracy[number, column]
                cells.append(f"{accuracies.mean():.1f} ± {half_width(accuracies):.1f}{difference}")
            print(f"| {name} | " + " | ".join(cells) + " |")
        for name in list(methods)[: 1 if args.variants else None]:
            means = [np.mean(errors, axis=0) for errors in calibration[name]]
            cells = [f"{m[0]:.3f}" + (f" (before: {m[1]:.3f})" if len(m) > 1 else "") for m in means]
            print(f"| calibration error, {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
