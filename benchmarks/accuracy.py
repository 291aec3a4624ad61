"""Few-shot accuracy of every classifier on a cache, over seeded support sets, paired.

    calm extract --model tiny ../shared/esc10 && python benchmarks/accuracy.py heads.h5

Every method sees the same support sets. Groups of the cache (folds, speakers) never stand on both sides. The interval
of a mean, and of a mean difference to SAV, is Student's over support sets at 95 %.
"""

from __future__ import annotations

import argparse
import platform
from typing import Any

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from calm import CALMClassifier, HeadCache, SAVClassifier, draw_episode
from calm.fit import unit_vectors


def unit_heads(X: Any) -> np.ndarray:
    """Scale head vectors to length one and lay them side by side."""
    return unit_vectors(np.asarray(X)).reshape(len(X), -1)


METHODS: dict[str, Any] = {
    "CALM (default)": CALMClassifier(),
    "CALM, neither shrunk nor cross-fitted": CALMClassifier(cross_fit=False, shrinkage=0.0),
    "CALM, no shrinkage": CALMClassifier(shrinkage=0.0),
    "CALM, probability": CALMClassifier(reliability="probability"),
    "CALM, brier": CALMClassifier(reliability="brier"),
    "CALM, 12 heads a class": CALMClassifier(top_heads=12),
    "uniform soft vote": CALMClassifier(weight_temperature=1e9),
    "SAV, 20 heads": SAVClassifier(),
    "nearest class mean": make_pipeline(FunctionTransformer(unit_heads), NearestCentroid()),
    "linear probe, C = 10": make_pipeline(FunctionTransformer(unit_heads), LogisticRegression(C=10, max_iter=1000)),
}


def half_width(values: np.ndarray) -> float:
    """Return half the 95 % interval of a mean."""
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    with HeadCache(args.cache) as cache:
        print(f"{cache!r}, weights {cache.fingerprint.weights}; {args.seeds} support sets; {platform.platform()}")
        for shots in args.shots:
            results: dict[str, list[float]] = {name: [] for name in METHODS}
            for seed in range(args.seeds):
                episode = draw_episode(cache, shots, seed)
                for name, classifier in METHODS.items():
                    with np.errstate(invalid="ignore"):  # one clip a class has no variance, and needs none
                        classifier.fit(episode.support, episode.support.labels)
                    results[name].append(100 * classifier.score(episode.query, episode.query.labels))
            print(f"\n| {shots} shots | accuracy, % | over SAV |\n| --- | --- | --- |")
            sav = np.array(results["SAV, 20 heads"])
            for name, values in results.items():
                difference = np.array(values) - sav
                beside = "" if name.startswith("SAV") else f"{difference.mean():+.1f} ± {half_width(difference):.1f}"
                print(f"| {name} | {np.mean(values):.1f} ± {half_width(np.array(values)):.1f} | {beside} |")


if __name__ == "__main__":
    main()
