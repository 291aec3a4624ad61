"""Measure the few-shot accuracy and calibration of all methods on any head vectors.

    calm extract --model tiny ../shared/esc10 && python benchmarks/accuracy.py heads.h5
    python benchmarks/head_vectors.py ../shared/esc10 kinds/ && python benchmarks/accuracy.py kinds/*.npz
    python benchmarks/real_heads.py real/ --whisper FOLDER --smollm2 FOLDER && python benchmarks/accuracy.py real/*.npz
    python benchmarks/accuracy.py kinds/*.npz --variants          # variants of CALM

All methods are fitted on the same seeded support sets. Groups (folds, speakers) of the support set are never queried; a
clip without a group is its own group. The table of each file shows mean accuracies and, in brackets, the paired
difference of each method to the first one, with 95 % confidence intervals from Student's t distribution over support
sets. It leaves out shots for which a file has too few clips or groups. With several files, the last table shows means
over files and, in brackets, the smallest and the largest difference to the first method on any file. Files named
``*-strange.npz`` hold inputs of no class and are passed over.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import clone

from calm import CALMClassifier, HeadCache
from calm.classifiers.base import HeadClassifier
from calm.classifiers.registry import METHODS, TITLES
from calm.fit import draw_support, expected_calibration_error, softmax
from calm.fit.ridge import PRIOR_TEMPERATURE

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


@dataclass
class HeadVectors:
    """The head vectors of a file, ``(clips, heads, dim)``, with the class number and group of each clip."""

    name: str
    X: NDArray[np.float32]
    y: NDArray[np.int64]
    groups: NDArray[Any]

    def describe(self) -> str:
        digest = hashlib.blake2b(self.X.tobytes(), digest_size=4).hexdigest()
        sizes = f"{len(self.y)} clips, {self.y.max() + 1} classes, {len(np.unique(self.groups))} groups"
        return f"{self.name}: {sizes}, {self.X.shape[1]} heads × {self.X.shape[2]} (digest {digest})"


@dataclass
class Result:
    """The accuracies of a method on each support set, in percent, and its calibration errors."""

    accuracy: list[float] = field(default_factory=list)
    calibration: list[list[float]] = field(default_factory=list)


Results = dict[str, dict[int, Result]]  # by method and shots


def read_vectors(path: Path) -> HeadVectors:
    """Read a head cache, or an ``.npz`` file with ``X``, ``y`` and optional ``groups``."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            X, labels, groups = file["X"], file["y"], file.get("groups", np.full(len(file["y"]), ""))
    else:
        with HeadCache(path) as cache:
            rows = cache[cache.done]
            X, labels, groups = rows.read(), rows.labels, rows.groups
    separate = [f"clip {clip}" if group == "" else f"group {group}" for clip, group in enumerate(groups)]
    return HeadVectors(path.stem, X, np.unique(labels, return_inverse=True)[1], np.array(separate))


def draw_support_sets(
    vectors: HeadVectors, shots: int, seeds: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]] | None:
    """Draw support sets and their queries, or return None if there are too few clips or groups."""
    if np.bincount(vectors.y).min() < shots:
        return None
    drawn = [draw_support(vectors.y, shots, groups=vectors.groups, seed=seed) for seed in range(seeds)]
    return drawn if all(len(query) for _, query in drawn) else None


def calibration_errors(clf: HeadClassifier, y: NDArray[np.int64], p: NDArray[np.float64]) -> list[float]:
    """Return the calibration error; for CALM, also the one at the temperature that it has without calibration data."""
    errors = [expected_calibration_error(p, y)]
    if isinstance(clf, CALMClassifier):
        prior = PRIOR_TEMPERATURE if clf.combine == "joint" else 1.0
        with np.errstate(divide="ignore"):  # a probability may be zero
            logits = clf.temperature_ * np.log(p)
        errors.append(expected_calibration_error(softmax(logits / prior, axis=1), y))
    return errors


def measure(
    vectors: HeadVectors, methods: Mapping[str, HeadClassifier], all_shots: Sequence[int], seeds: int
) -> Results:
    """Fit all methods on the same support sets and score their predictions for the queries."""
    X, y = vectors.X, vectors.y
    results: Results = {name: {} for name in methods}
    for shots in all_shots:
        drawn = draw_support_sets(vectors, shots, seeds)
        for name, method in methods.items() if drawn else ():
            result = results[name][shots] = Result()
            for support, query in drawn or ():
                clf = clone(method).fit(X[support], y[support], groups=vectors.groups[support])
                p = np.asarray(clf.predict_proba(X[query]), dtype=np.float64)
                result.accuracy.append(100 * float((p.argmax(axis=1) == y[query]).mean()))
                result.calibration.append(calibration_errors(clf, y[query], p))
    return results


def mean_and_interval(values: Sequence[float] | NDArray[np.float64], sign: str = "") -> str:
    """Return the mean and half its 95 % confidence interval."""
    half_width = float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))
    return f"{np.mean(values):{sign}.1f} ± {half_width:.1f}"


def print_row(title: str, cells: Sequence[str]) -> None:
    print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def print_header(all_shots: Sequence[int]) -> None:
    print_row("method", [f"{shots} shot{'s' * (shots > 1)}" for shots in all_shots])
    print("| --- |" + " --- |" * len(all_shots))


def print_results(results: Results, calibration_of: Sequence[str]) -> None:
    """Print accuracies with differences to the first method, and the calibration errors of some methods."""
    first = next(iter(results.values()))
    print_header(list(first))
    for name, of_method in results.items():
        cells = []
        for shots, result in of_method.items():
            difference = np.subtract(result.accuracy, first[shots].accuracy)
            bracket = "" if of_method is first else f" ({mean_and_interval(difference, '+')})"
            cells.append(mean_and_interval(result.accuracy) + bracket)
        print_row(name, cells)
    for name in calibration_of:
        means = [np.mean(result.calibration, axis=0) for result in results[name].values()]
        cells = [f"{m[0]:.3f}" + (f" (before: {m[1]:.3f})" if len(m) > 1 else "") for m in means]
        print_row(f"calibration error, {name}", cells)


def print_summary(all_results: Sequence[Results]) -> None:
    """Print means over files of the shots that all files have, and the range of differences to the first method."""
    names = list(all_results[0])
    common = [shots for shots in all_results[0][names[0]] if all(shots in r[names[0]] for r in all_results)]
    means = {
        (name, shots): np.array([np.mean(results[name][shots].accuracy) for results in all_results])
        for name in names
        for shots in common
    }
    print_header(common)
    for name in names:
        cells = []
        for shots in common:
            difference = means[name, shots] - means[names[0], shots]
            bracket = "" if name == names[0] else f" ({difference.min():+.1f} to {difference.max():+.1f})"
            cells.append(f"{means[name, shots].mean():.1f}{bracket}")
        print_row(name, cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "vectors", type=Path, nargs="+", help="head caches, or .npz files of head_vectors.py or real_heads.py"
    )
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5, 10, 20])
    parser.add_argument("--seeds", type=int, default=30, help="number of support sets, at least 2")
    parser.add_argument("--variants", action="store_true", help="compare CALM with its variants, not with baselines")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds must be at least 2, because confidence intervals need two support sets")
    named = {TITLES[name]: method for name, method in METHODS.items()}
    methods = VARIANTS if args.variants else named
    print(
        f"{args.seeds} support sets; numpy {np.__version__}, scikit-learn {sklearn.__version__}, {platform.platform()}"
    )
    warnings.filterwarnings("ignore", message="the support set has too few groups")  # true of most sets of few shots
    all_results = []
    for path in args.vectors:
        if path.stem.endswith("-strange"):
            continue
        vectors = read_vectors(path)
        print(f"\n### {vectors.describe()}\n")
        all_results.append(measure(vectors, methods, args.shots, args.seeds))
        print_results(all_results[-1], list(methods)[: 1 if args.variants else None])
    if len(all_results) > 1:
        print(f"\n### Mean over {len(all_results)} files\n")
        print_summary(all_results)


if __name__ == "__main__":
    main()
