"""Measure how well clips of no known class are rejected, and how many clips of known classes are lost.

    python benchmarks/real_heads.py real/ --esc10 ../shared/esc10 --whisper WHISPER_FOLDER --smollm2 SMOLLM2_FOLDER
    python benchmarks/rejection.py real/whisper-esc10.npz real/smollm2-files.npz

In each of the seeded support sets, three classes are left out, in rotation. Clips of other groups are the queries:
those of the classes in the support set are known, those of the other classes are unknown. ``<kind>-strange.npz``, if it
exists next to ``<kind>.npz``, holds inputs of no class at all, such as noise.

Each score is compared with its own values on support clips that are held out in cross-validation. The row "largest
score" is ``CALMClassifier.typicality`` without its correction for few groups. The table shows, in percent, the area
under the ROC curve (AUROC) between known and unknown queries, and the share of unknown and of known queries that are
rejected at three levels. The second table shows the paired differences of AUROC to "largest score". Intervals are 95 %
confidence intervals from Student's t distribution over support sets. ``--brief`` measures only
``CALMClassifier.typicality``.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from calm import CALMClassifier
from calm.classifiers.held_out import held_out_folds
from calm.classifiers.inputs import ArrayHeads
from calm.classifiers.support_set import SupportSet
from calm.fit import class_statistics, draw_support, unit_vectors, whitening

LEVELS = (0.05, 0.1, 0.2)
UNKNOWN_CLASSES = 3

Floats = NDArray[np.floating[Any]]
Scores = dict[str, Floats]


@dataclass(frozen=True)
class Episode:
    """A support set and its queries."""

    X: Floats
    y: NDArray[np.int64]
    groups: NDArray[Any]
    known: Floats
    unknown: Floats


def draw_episodes(path: Path, shots: int, seeds: int) -> Iterator[Episode]:
    """Yield an episode per seed; the unknown classes rotate."""
    with np.load(path) as file:
        X, labels, groups = file["X"].astype(np.float32), file["y"], file["groups"]
    classes = np.unique(labels)
    for seed in range(seeds):
        left_out = classes[(seed * UNKNOWN_CLASSES + np.arange(UNKNOWN_CLASSES)) % len(classes)]
        is_known = ~np.isin(labels, left_out)
        rows = np.flatnonzero(is_known)
        y = np.unique(labels[rows], return_inverse=True)[1]
        support, query = draw_support(y, shots, groups=groups[rows], seed=seed)
        unknown = ~is_known & ~np.isin(groups, groups[rows[support]])
        yield Episode(X[rows[support]], y[support], groups[rows[support]], X[rows[query]], X[unknown])


def compute_scores(X: Floats, y: NDArray[np.int64], groups: NDArray[Any], queries: Floats) -> Scores:
    """Fit on a support set, and score queries by every candidate; a large score is typical."""
    scores: Scores = {}
    clf = CALMClassifier(calibrate=False).fit(X, y, groups=groups)
    votes = np.asarray(clf._compute_logits(clf._compute_scores(queries)))
    scores["largest score"] = votes.max(axis=1)
    scores["energy"] = logsumexp(votes / 0.15, axis=1)
    scores["largest probability"] = scores["largest score"] / 0.15 - scores["energy"]
    weights = clf.head_weights_.mean(axis=1)
    scores |= _score_distances(X, y, queries, weights / weights.sum())
    flat, flat_queries = (unit_vectors(Z).reshape(len(Z), -1) for Z in (X, queries))
    scores["nearest support clip"] = (flat_queries @ flat.T).max(axis=1)
    scores["isolation forest"] = IsolationForest(random_state=0).fit(flat).score_samples(flat_queries)
    neighbours = LocalOutlierFactor(n_neighbors=min(20, len(flat) - 1), novelty=True)
    scores["local outlier factor"] = neighbours.fit(flat).score_samples(flat_queries)
    return scores


def _score_distances(X: Floats, y: NDArray[np.int64], queries: Floats, weights: Floats) -> Scores:
    """Score queries by distances to class means, head by head."""
    n_classes = int(y.max()) + 1
    statistics = class_statistics(X, y, n_classes, scatter=True)
    means = statistics.means
    metric = whitening(statistics)
    Z, M = metric.project(queries), metric.project(means)  # (heads, clips, dim)
    squares = _squared_distances(Z, M)
    to_centre = (Z**2).sum(axis=2)[..., None]
    cosines = np.einsum("hnd,hcd->hnc", unit_vectors(Z), unit_vectors(M))
    agreement = np.einsum("h,hnc->nc", weights, cosines == cosines.max(axis=2, keepdims=True))
    scores = {
        "Mahalanobis distance": -np.sqrt(squares).mean(axis=0).min(axis=1),
        "Mahalanobis distance, weighted": -np.einsum("h,hnc->nc", weights, np.sqrt(squares)).min(axis=1),
        "relative Mahalanobis distance": -np.einsum("h,hnc->nc", weights, squares - to_centre).min(axis=1),
        "whitened cosine": cosines.mean(axis=0).max(axis=1),
        "agreement of heads": agreement.max(axis=1),
    }
    centre = means.mean(axis=0)
    U, P, S = (np.swapaxes(unit_vectors(V) - unit_vectors(centre), 0, 1) for V in (queries, means, X))
    to_own = _squared_distances(S, P)[:, np.arange(len(y)), y].mean(axis=1)
    scale = np.maximum(to_own, 0.01 * (S**2).sum(axis=2).mean(axis=1)) + 1e-30
    relative = _squared_distances(U, P) / scale[:, None, None]
    scores["distance of unit heads"] = -np.sqrt(relative.mean(axis=0).min(axis=1))
    return scores


def _squared_distances(A: Floats, B: Floats) -> Floats:
    products = A @ np.swapaxes(B, 1, 2)
    return np.maximum((A**2).sum(axis=2)[..., None] + (B**2).sum(axis=2)[:, None] - 2 * products, 0)


#: Combinations of two scores, each in standard deviations of its held-out values.
PAIRS = {
    "smaller": np.minimum,
    "sum": np.add,
}
PARTNERS = ("distance of unit heads", "Mahalanobis distance")


def hold_out(episode: Episode) -> Scores:
    """Score each support clip by candidates that are fitted on the other folds."""
    groups = np.unique(episode.groups, return_inverse=True)[1]
    support = SupportSet(ArrayHeads(episode.X), episode.y, None, int(episode.y.max()) + 1, groups)
    _, folds = held_out_folds(support)
    parts = []
    for train, test in folds:
        y = np.unique(episode.y[train], return_inverse=True)[1]
        parts.append(compute_scores(episode.X[train], y, episode.groups[train], episode.X[test]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def combine(scores: Scores, reference: Scores) -> Scores:
    """Return all scores and their combinations."""

    def standardize(name: str) -> Floats:
        values, expected = scores[name], reference[name]
        if name in PARTNERS:  # a distance with a minus sign; its logarithm is less skewed
            values, expected = -np.log(-values), -np.log(-expected)
        return (values - expected.mean()) / expected.std()

    pairs = {
        f"{how} of largest score and {second}": function(standardize("largest score"), standardize(second))
        for second in PARTNERS
        for how, function in PAIRS.items()
    }
    return scores | pairs


def to_p_values(scores: Floats, reference: Floats) -> Floats:
    """Return conformal p-values."""
    return (np.searchsorted(np.sort(reference), scores, side="right") + 1) / (len(reference) + 1)


def measure(episode: Episode, strange: dict[str, Floats], candidates: bool) -> dict[str, list[float]]:
    """Return the columns of the table for every score."""
    sizes = [len(episode.known), len(episode.unknown), *(len(X) for X in strange.values())]
    queries = np.concatenate([episode.known, episode.unknown, *strange.values()])
    clf = CALMClassifier().fit(episode.X, episode.y, groups=episode.groups)
    p_values: Scores = {"CALMClassifier.typicality": clf.typicality(queries)}
    ranks = dict(p_values)
    if candidates:
        reference = hold_out(episode)
        all_scores = combine(compute_scores(episode.X, episode.y, episode.groups, queries), reference)
        all_references = combine(reference, reference)
        ranks |= all_scores
        p_values |= {name: to_p_values(all_scores[name], all_references[name]) for name in all_scores}
    rows = {}
    for name, p in p_values.items():
        known, unknown, *others = np.split(p, np.cumsum(sizes)[:-1])
        rank_known, rank_unknown, *_ = np.split(ranks[name], np.cumsum(sizes)[:-1])
        is_known = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
        rows[name] = [roc_auc_score(is_known, np.r_[rank_known, rank_unknown])]
        rows[name] += [(part <= level).mean() for level in LEVELS for part in (unknown, known)]
        rows[name] += [(part <= level).mean() for part in others for level in LEVELS[:2]]
    return rows


def format_cell(values: Floats) -> str:
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{100 * values.mean():.1f} ± {100 * half:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", type=Path, nargs="+", help=".npz files of real_heads.py or head_vectors.py")
    parser.add_argument("--shots", type=int, nargs="+", default=[2, 5, 10, 20])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--brief", action="store_true", help="measure CALMClassifier.typicality only")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message="the support set has too few groups")
    print(
        f"{args.seeds} support sets; numpy {np.__version__}, scikit-learn {sklearn.__version__}, {platform.platform()}"
    )
    for path in args.vectors:
        strange_path = path.with_name(f"{path.stem}-strange.npz")
        strange: dict[str, Floats] = {}
        if strange_path.exists():
            with np.load(strange_path) as file:
                X, kinds = file["X"], file["y"]
            strange = {str(kind): X[kinds == kind].astype(np.float32) for kind in np.unique(kinds)}
        columns = ["AUROC", *(f"{who} {level}" for level in LEVELS for who in ("unknown", "known"))]
        columns += [f"{kind} {level}" for kind in strange for level in LEVELS[:2]]
        for shots in args.shots:
            rows = [measure(episode, strange, not args.brief) for episode in draw_episodes(path, shots, args.seeds)]
            print(f"\n### {path.stem}, {shots} shots\n")
            print("| score | " + " | ".join(columns) + " |")
            print("| --- |" + " --- |" * len(columns))
            for name in rows[0]:
                values = np.array([row[name] for row in rows])
                print(f"| {name} | " + " | ".join(format_cell(column) for column in values.T) + " |", flush=True)
            if not args.brief:
                base = np.array([row["largest score"][0] for row in rows])
                print("\n| AUROC minus that of the largest score | difference |\n| --- | --- |")
                for name in rows[0]:
                    print(f"| {name} | {format_cell(np.array([row[name][0] for row in rows]) - base)} |", flush=True)


if __name__ == "__main__":
    main()
