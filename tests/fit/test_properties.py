"""Comparison with naive loops over the formulas, and properties that hold on any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone

from calm import (
    CALMClassifier,
    GlobalWeightClassifier,
    LinearProbeClassifier,
    NearestMeanClassifier,
    SAVClassifier,
    UniformVoteClassifier,
)
from calm.classifiers.base import HeadClassifier
from calm.fit import (
    SCHEMES,
    class_counts,
    class_means,
    cosine_similarity,
    head_weights,
    leave_one_out_similarity,
    posterior,
    unit_vectors,
)
from calm.fit.reliability import Scheme
from tests.tasks import few_shot_task

seeds = st.integers(0, 2**32 - 1)
CLASSIFIERS: list[HeadClassifier] = [
    CALMClassifier(),
    CALMClassifier.published(),
    SAVClassifier(top_heads=3),
    GlobalWeightClassifier(),
    UniformVoteClassifier(),
    UniformVoteClassifier(voting="hard"),
    NearestMeanClassifier(),
    LinearProbeClassifier(),
]
classifiers = st.sampled_from(CLASSIFIERS)


# --- reference implementation: every formula with loops over scalars ---


def naive_cosine(a: NDArray, b: NDArray) -> float:
    dot = sum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    lengths = math.sqrt(sum(float(p) ** 2 for p in a)) * math.sqrt(sum(float(q) ** 2 for q in b))
    return dot / lengths if lengths else 0.0


def naive_softmax(values: list[float]) -> list[float]:
    top = max(values)
    raised = [math.exp(v - top) for v in values]
    return [r / sum(raised) for r in raised]


def naive_calm(
    X: NDArray, y: NDArray, Q: NDArray, scheme: str, tau: float, tau_w: float, alpha: float, cross_fit: bool
) -> tuple[NDArray, NDArray]:
    n, heads, _ = X.shape
    classes = sorted(set(y.tolist()))
    members = {c: [i for i in range(n) if y[i] == c] for c in classes}

    def prototype(h: int, c: int, without: int | None) -> NDArray:
        return np.mean([X[j, h] for j in members[c] if j != without], axis=0)

    r = np.zeros((heads, len(classes)))
    for h in range(heads):
        for c in classes:
            scores = []
            for i in members[c]:
                leave_one_out = i if cross_fit else None
                p = naive_softmax([naive_cosine(X[i, h], prototype(h, k, leave_one_out)) / tau for k in classes])
                margin = p[c] - max(p[k] for k in classes if k != c)
                own = naive_cosine(X[i, h], prototype(h, c, leave_one_out))
                other = [naive_cosine(X[i, h], prototype(h, k, leave_one_out)) for k in classes if k != c]
                score = {
                    "separation": own - sum(other) / len(other),
                    "margin": max(0.0, margin),
                    "raw_margin": margin,
                    "probability": p[c],
                    "brier": 2 * p[c] - sum(q * q for q in p),
                }
                scores.append(score[scheme])
            r[h, c] = sum(scores) / len(scores)
    shrunk = np.zeros_like(r)
    for c in classes:
        n_c = len(members[c])
        for h in range(heads):
            shrunk[h, c] = n_c / (n_c + alpha) * r[h, c] + alpha / (n_c + alpha) * r.mean()
    w = np.zeros_like(r)
    for c in classes:
        if scheme in ("margin", "separation"):
            raised = [max(shrunk[h, c], 0.0) ** (1 / tau_w) for h in range(heads)]
            w[:, c] = [v / sum(raised) for v in raised] if sum(raised) else 1 / heads
        else:
            w[:, c] = naive_softmax([shrunk[h, c] / tau_w for h in range(heads)])
    votes = np.zeros((len(Q), len(classes)))
    for i, q in enumerate(Q):
        for h in range(heads):
            p = naive_softmax([naive_cosine(q[h], prototype(h, k, None)) / tau for k in classes])
            votes[i] += w[h] * p
    return w, votes


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    scheme=st.sampled_from(SCHEMES),
    tau=st.sampled_from([0.05, 0.3]),
    tau_w=st.sampled_from([0.3, 1.0, 4.0]),
    alpha=st.sampled_from([0.0, 1.5]),
    cross_fit=st.booleans(),
)
def test_classifier_agrees_with_a_naive_loop_over_the_formulas(
    seed: int, scheme: Scheme, tau: float, tau_w: float, alpha: float, cross_fit: bool
) -> None:
    X, y, Q = few_shot_task(seed)
    clf = CALMClassifier.published(
        reliability=scheme, temperature=tau, weight_temperature=tau_w, shrinkage=alpha, cross_fit=cross_fit
    ).fit(X, y)
    weights, votes = naive_calm(X, y, Q, scheme, tau, tau_w, alpha, cross_fit)
    np.testing.assert_allclose(clf.head_weights_, weights, atol=1e-9)
    np.testing.assert_allclose(clf.predict_proba(Q), votes / votes.sum(axis=1, keepdims=True), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(seed=seeds)
def test_leaving_a_clip_out_in_closed_form_equals_a_refit_without_it(seed: int) -> None:
    X, y, _ = few_shot_task(seed)
    n_classes = y.max() + 1
    closed = leave_one_out_similarity(X, y, class_means(X, y, n_classes), class_counts(y, n_classes))
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        refit = class_means(X[others], y[others], n_classes)
        np.testing.assert_allclose(closed[i], cosine_similarity(X[i : i + 1], refit)[0], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, classifier=classifiers)
def test_order_of_clips_and_names_of_labels_do_not_matter(seed: int, classifier: HeadClassifier) -> None:
    X, y, Q = few_shot_task(seed)
    # Cross-validation folds and solver steps depend on the order, so that only a looser tolerance holds.
    classifier = LinearProbeClassifier(C=1.0) if isinstance(classifier, LinearProbeClassifier) else classifier
    tolerance = 1e-3 if isinstance(classifier, LinearProbeClassifier) else 1e-8
    expected = classifier.fit(X, y).predict_proba(Q)
    order = np.random.default_rng(seed).permutation(len(y))
    np.testing.assert_allclose(classifier.fit(X[order], y[order]).predict_proba(Q), expected, atol=tolerance)
    renamed = np.array([f"class {label}" for label in y])
    np.testing.assert_allclose(classifier.fit(X, renamed).predict_proba(Q), expected, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, classifier=classifiers)
def test_permuting_heads_permutes_weights_and_leaves_the_vote_alone(seed: int, classifier: HeadClassifier) -> None:
    X, y, Q = few_shot_task(seed)
    order = np.random.default_rng(seed).permutation(X.shape[1])
    clf, permuted = clone(classifier).fit(X, y), clone(classifier).fit(X[:, order], y)
    if hasattr(clf, "head_weights_"):
        np.testing.assert_allclose(permuted.head_weights_, clf.head_weights_[order], atol=1e-8)
    if not isinstance(clf, SAVClassifier):  # with equal hits, SAV selects the first heads
        tolerance = 1e-3 if isinstance(clf, LinearProbeClassifier) else 1e-8
        np.testing.assert_allclose(permuted.predict_proba(Q[:, order]), clf.predict_proba(Q), atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, power=st.integers(-30, 30), classifier=classifiers)
def test_a_heads_scale_does_not_matter_even_near_the_ends_of_float32(
    seed: int, power: int, classifier: HeadClassifier
) -> None:
    X, y, Q = (a.astype(np.float32) if a.dtype == np.float64 else a for a in few_shot_task(seed))
    if getattr(classifier, "whitening", None) is not None:
        power = power // 2  # the covariance squares the scale
    scale = np.ones((X.shape[1], 1), dtype=np.float32)
    scale[0] = 10.0**power
    expected = classifier.fit(X, y).predict_proba(Q)
    np.testing.assert_allclose(classifier.fit(X * scale, y).predict_proba(Q * scale), expected, atol=3e-3)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_doubling_every_clip_changes_nothing_without_cross_fitting(seed: int) -> None:
    X, y, Q = few_shot_task(seed)
    once = CALMClassifier.published().fit(X, y).predict_proba(Q)
    twice = CALMClassifier.published().fit(np.repeat(X, 2, axis=0), np.repeat(y, 2)).predict_proba(Q)
    np.testing.assert_allclose(twice, once, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, scheme=st.sampled_from(SCHEMES))
def test_one_shot_without_movement_gives_uniform_weights(seed: int, scheme: Scheme) -> None:
    X, y, _ = few_shot_task(seed, one_shot=True)
    weights = CALMClassifier(combine="vote", reliability=scheme, shrinkage=1.0, movement=None).fit(X, y).head_weights_
    np.testing.assert_allclose(weights, 1 / X.shape[1])


def test_a_class_of_one_clip_trusts_heads_as_the_other_classes_do() -> None:
    X, y, _ = few_shot_task(5)
    alone = np.flatnonzero(y == 0)[1:]
    X, y = np.delete(X, alone, axis=0), np.delete(y, alone)
    clf = CALMClassifier(combine="vote", whitening=None).fit(X, y)
    other_classes = clf.reliability_[:, 1:].mean(axis=1)
    np.testing.assert_allclose(clf.reliability_[:, 0], other_classes)
    assert np.ptp(clf.head_weights_[:, 1]) > 0.01


@settings(max_examples=30, deadline=None)
@given(seed=seeds, scheme=st.sampled_from(SCHEMES), top=st.integers(1, 6), tau_w=st.sampled_from([0.01, 1.0, 100.0]))
def test_weights_are_a_distribution_over_at_most_top_heads(seed: int, scheme: Scheme, top: int, tau_w: float) -> None:
    rng = np.random.default_rng(seed)
    reliability = rng.uniform(0 if scheme == "margin" else -1, 1, size=(6, 3))
    weights = head_weights(reliability, scheme, tau_w, top)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert (weights >= 0).all()
    assert ((weights > 0).sum(axis=0) <= top).all()


def test_heads_of_zeros_and_constants_get_no_weight_and_break_nothing() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 4)
    X = 5 * np.eye(6)[y][:, None] + rng.normal(size=(12, 3, 6))  # three informative heads
    dull = np.concatenate([X, np.zeros((12, 1, 6)), np.ones((12, 1, 6))], axis=1)
    for clf in (CALMClassifier(), CALMClassifier(combine="vote")):
        with np.errstate(all="raise", under="ignore"):
            clf.fit(dull, y)
        np.testing.assert_allclose(clf.head_weights_[-2:], 0, atol=1e-12)
        np.testing.assert_allclose(clf.predict_proba(dull), clone(clf).fit(X, y).predict_proba(X), atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_heads_that_never_change_count_for_nothing_whatever_their_rounding(dtype: type) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 7)
    informative = (2 * np.eye(6)[y][:, None] + rng.normal(size=(21, 6, 6))).astype(dtype)
    X = np.concatenate([informative, np.broadcast_to(rng.normal(size=(6, 6)), (21, 6, 6)).astype(dtype)], axis=1)
    for clf in (CALMClassifier(), CALMClassifier(combine="vote", top_heads=3)):
        clf.fit(X, y)
        np.testing.assert_allclose(clf.reliability_[6:], 0, atol=1e-6)
        np.testing.assert_allclose(clf.head_weights_[6:], 0, atol=1e-12)
    constant_in_class = np.eye(6)[y][:, None].astype(dtype)
    X = np.concatenate([informative, constant_in_class], axis=1)
    assert CALMClassifier().fit(X, y).head_weights_[6].min() > 1 / 7


def test_a_class_that_no_head_recognizes_gets_uniform_weights() -> None:
    y = np.repeat([0, 1], 3)
    X = np.ones((6, 4, 5))  # all clips are equal
    for clf in (CALMClassifier(), CALMClassifier(combine="vote")):
        np.testing.assert_allclose(clf.fit(X, y).head_weights_, 1 / 4)


def test_unit_vectors_survive_the_ends_of_float32() -> None:
    tiny = np.array([[3e-38, 4e-38], [3e38, 3e38]], dtype=np.float32)
    np.testing.assert_allclose(np.linalg.norm(unit_vectors(tiny).astype(float), axis=1), 1, rtol=1e-5)


def test_vectors_whose_squares_overflow_are_refused_where_squares_are_needed() -> None:
    X, y, _ = few_shot_task(0)
    large = (X / np.abs(X).max() * 1e25).astype(np.float32)
    with pytest.raises(ValueError, match="too large for float32"):
        CALMClassifier().fit(large, y)
    assert CALMClassifier.published().fit(large, y).score(large, y) > 0.5


def test_growing_checks_parameters_as_a_fit_does() -> None:
    X, y, _ = few_shot_task(0)
    clf = CALMClassifier().fit(X, y).set_params(temperature=0.0)
    with pytest.raises(ValueError, match="temperature"):
        clf.partial_fit(X, y)


def test_whole_numbers_are_vectors_too() -> None:
    np.testing.assert_allclose(unit_vectors(np.array([[3, 4]])), [[0.6, 0.8]])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_zero_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        posterior(np.zeros((1, 1, 2)), temperature)
    with pytest.raises(ValueError, match="weight_temperature must be above 0"):
        head_weights(np.zeros((2, 2)), "margin", temperature)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"reliability": "entropy"}, "reliability must be one of separation, margin, raw_margin, probability, brier"),
        ({"shrinkage": -1.0}, "shrinkage must be 0 or above"),
        ({"shrinkage": float("inf")}, "shrinkage must be 0 or above"),
        ({"temperature": 10**400}, "temperature must be above 0"),
        ({"n_heads": 2.5}, "n_heads must be at least 1 and a whole number"),
        ({"top_heads": 0}, "top_heads must be at least 1"),
        ({"top_heads": 2.5}, "top_heads must be at least 1 and a whole number"),
        ({"temperature": "warm"}, "temperature must be above 0 .*, got 'warm'"),
        ({"cross_fit": "no"}, "cross_fit must be True or False"),
        ({"calibrate": 3}, "calibrate must be True or False"),
        ({"combine": "magic"}, "combine must be one of joint, vote; got 'magic'"),
        ({"whitening": "pca"}, "whitening must be 'oas', a number between 0 and 1, or None; got 'pca'"),
        ({"whitening": 1.5}, "whitening must be between 0 and 1, got 1.5"),
        ({"strength": 0}, "strength must be above 0"),
    ],
)
def test_parameters_out_of_range_are_refused_at_fit(parameters: dict, message: str) -> None:
    X, y, _ = few_shot_task(0)
    with pytest.raises(ValueError, match=message):
        CALMClassifier(**parameters).fit(X, y)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, classifier=classifiers)
def test_what_heads_add_makes_up_the_lead(seed: int, classifier: HeadClassifier) -> None:
    X, y, Q = few_shot_task(seed)
    why = classifier.fit(X, y).explain(Q)
    assert why.labels.tolist() == classifier.predict(Q).tolist()
    if isinstance(classifier, CALMClassifier | GlobalWeightClassifier):
        scores = classifier._compute_scores(Q)
        lead = np.sort(scores, axis=1)[:, -1] - np.sort(scores, axis=1)[:, -2]
        np.testing.assert_allclose(why.importance.sum(axis=1), lead, atol=1e-9)
