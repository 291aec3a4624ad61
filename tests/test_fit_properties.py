"""The fitter against a naive loop over each formula, and the properties that must hold on any data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge

from calm import (
    CALMClassifier,
    GlobalWeightClassifier,
    LinearProbeClassifier,
    NearestMeanClassifier,
    SAVClassifier,
    UniformVoteClassifier,
)
from calm.base import HeadClassifier
from calm.fit import (
    SCHEMES,
    Metric,
    class_counts,
    class_means,
    class_statistics,
    cosine_similarity,
    deal_folds,
    expected_calibration_error,
    head_weights,
    leave_one_out_similarity,
    merge_statistics,
    oas_shrinkage,
    posterior,
    ridge_path,
    solve_ridge,
    unit_vectors,
    whitening,
)
from calm.fit.reliability import Scheme
from calm.fit.ridge import STRENGTHS

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


def few_shot_task(seed: int, one_shot: bool = False) -> tuple[NDArray, NDArray, NDArray]:
    """Return support vectors, class numbers and queries of a random shape."""
    rng = np.random.default_rng(seed)
    n_classes, heads, dim = rng.integers(2, 5), rng.integers(1, 6), rng.integers(2, 7)
    counts = np.ones(n_classes, int) if one_shot else rng.integers(2, 5, n_classes)
    y = rng.permutation(np.repeat(np.arange(n_classes), counts))
    centres = rng.normal(size=(n_classes, heads, dim))
    X = centres[y] + rng.normal(size=(len(y), heads, dim))
    Q = centres[rng.integers(0, n_classes, 6)] + rng.normal(size=(6, heads, dim))
    return X, y, Q


# --- the naive oracle: every formula of the design, one scalar at a time ---


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
                left_out = i if cross_fit else None
                p = naive_softmax([naive_cosine(X[i, h], prototype(h, k, left_out)) / tau for k in classes])
                margin = p[c] - max(p[k] for k in classes if k != c)
                own = naive_cosine(X[i, h], prototype(h, c, left_out))
                other = [naive_cosine(X[i, h], prototype(h, k, left_out)) for k in classes if k != c]
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
    # Folds of cross-validation and the steps of a solver depend on the order; what they lead to hardly does.
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
    if not isinstance(clf, SAVClassifier):  # among heads of equal hits, the first are taken
        tolerance = 1e-3 if isinstance(clf, LinearProbeClassifier) else 1e-8
        np.testing.assert_allclose(permuted.predict_proba(Q[:, order]), clf.predict_proba(Q), atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, power=st.integers(-30, 30), classifier=classifiers)
def test_a_heads_scale_does_not_matter_even_near_the_ends_of_float32(
    seed: int, power: int, classifier: HeadClassifier
) -> None:
    X, y, Q = (a.astype(np.float32) if a.dtype == np.float64 else a for a in few_shot_task(seed))
    if getattr(classifier, "whitening", None) is not None:
        power = power // 2  # a covariance squares it
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
def test_one_shot_gives_uniform_weights(seed: int, scheme: Scheme) -> None:
    X, y, _ = few_shot_task(seed, one_shot=True)
    weights = CALMClassifier(combine="vote", reliability=scheme, shrinkage=1.0).fit(X, y).head_weights_
    np.testing.assert_allclose(weights, 1 / X.shape[1])


def test_a_class_of_one_clip_trusts_heads_as_the_other_classes_do() -> None:
    X, y, _ = few_shot_task(5)
    alone = np.flatnonzero(y == 0)[1:]
    X, y = np.delete(X, alone, axis=0), np.delete(y, alone)
    clf = CALMClassifier(combine="vote", whitening=None).fit(X, y)
    known = clf.reliability_[:, 1:].mean(axis=1)
    np.testing.assert_allclose(clf.reliability_[:, 0], known)  # as far as a head is known, from the other classes
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
    X = 5 * np.eye(6)[y][:, None] + rng.normal(size=(12, 3, 6))  # three heads that hear the classes
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
    heard = (2 * np.eye(6)[y][:, None] + rng.normal(size=(21, 6, 6))).astype(dtype)
    X = np.concatenate([heard, np.broadcast_to(rng.normal(size=(6, 6)), (21, 6, 6)).astype(dtype)], axis=1)
    for clf in (CALMClassifier(), CALMClassifier(combine="vote", top_heads=3)):
        clf.fit(X, y)
        np.testing.assert_allclose(clf.reliability_[6:], 0, atol=1e-6)
        np.testing.assert_allclose(clf.head_weights_[6:], 0, atol=1e-12)
    same = np.concatenate([heard, np.eye(6)[y][:, None].astype(dtype)], axis=1)  # one that is constant in each class
    assert CALMClassifier().fit(same, y).head_weights_[6].min() > 1 / 7


def test_a_class_that_no_head_hears_gets_uniform_weights() -> None:
    y = np.repeat([0, 1], 3)
    X = np.ones((6, 4, 5))  # all clips are one clip
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


# --- whitening, leaving out, and the joint fit, against refits and scikit-learn ---


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_statistics_of_two_parts_merge_into_those_of_the_whole(seed: int) -> None:
    X, y, _ = few_shot_task(seed)
    rng = np.random.default_rng(seed)
    part, weights = rng.random(len(y)) < 0.5, rng.uniform(0.1, 3, len(y))
    whole = class_statistics(X, y, y.max() + 1, weights)
    one, other = (class_statistics(X[some], y[some], y.max() + 1, weights[some]) for some in (part, ~part))
    merged = merge_statistics(one, other)
    for attribute in ("counts", "means", "scatter"):
        np.testing.assert_allclose(getattr(merged, attribute), getattr(whole, attribute), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, strength=st.floats(0.05, 1.0))
def test_whitening_makes_the_shrunk_within_class_covariance_the_identity(seed: int, strength: float) -> None:
    X, y, _ = few_shot_task(seed)
    stats = class_statistics(X, y, y.max() + 1)
    metric = whitening(stats, strength)
    for h in range(X.shape[1]):
        residual = np.array([X[i, h] - X[y == y[i], h].mean(axis=0) for i in range(len(y))])
        covariance = residual.T @ residual / (len(y) - y.max() - 1)
        shrunk = (1 - strength) * covariance + strength * np.trace(covariance) / len(covariance) * np.eye(X.shape[2])
        whitened = metric.transform[h].T @ shrunk @ metric.transform[h]
        np.testing.assert_allclose(whitened, np.eye(X.shape[2]), atol=1e-6)


def test_oas_is_the_formula_of_its_paper_and_shrinks_less_the_more_is_known() -> None:
    covariance = np.diag([9.0, 4.0, 1.0, 0.5])
    for n in (3, 10, 100):
        trace, squared, p = covariance.trace(), (covariance**2).sum(), 4
        rho = ((1 - 2 / p) * squared + trace**2) / ((n + 1 - 2 / p) * (squared - trace**2 / p))
        assert oas_shrinkage(covariance[None], n)[0] == pytest.approx(min(rho, 1.0))
    assert oas_shrinkage(np.eye(4)[None], 50)[0] == 1.0  # nothing to tell of directions


def shrunk_metric(X: NDArray, y: NDArray, gamma: float, level: NDArray, centre: NDArray) -> Metric:
    """Whiten by a fixed centre, level and strength, as leaving a clip out keeps them."""
    stats = class_statistics(X, y, y.max() + 1)
    degrees = len(y) - len(np.unique(y))
    transforms = []
    for scatter, size in zip(stats.scatter, level, strict=True):
        values, vectors = np.linalg.eigh((1 - gamma) * scatter / degrees + gamma * size * np.eye(len(scatter)))
        transforms.append(vectors / np.sqrt(values))
    return Metric(centre, np.array(transforms), np.full(len(level), (1 - gamma) / degrees))


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_a_clip_is_left_out_of_the_whitening_as_if_it_had_been_taken_out_of_the_scatter(seed: int) -> None:
    X, y, _ = few_shot_task(seed)
    gamma, n_classes = 0.6, y.max() + 1
    stats = class_statistics(X, y, n_classes)
    degrees = len(y) - n_classes
    level = np.trace(stats.scatter, axis1=1, axis2=2) / degrees / X.shape[2]
    centre = stats.means.mean(axis=0)
    metric = shrunk_metric(X, y, gamma, level, centre)
    closed = leave_one_out_similarity(X, y, stats.means, stats.counts, metric)
    Z, P = metric.project(X), metric.project(stats.means)
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        refit = class_statistics(X[others], y[others], n_classes)
        transforms = []
        for scatter, size in zip(refit.scatter, level, strict=True):
            values, vectors = np.linalg.eigh((1 - gamma) * scatter / degrees + gamma * size * np.eye(X.shape[2]))
            transforms.append(vectors / np.sqrt(values))
        there = Metric(centre, np.array(transforms), metric.leverage)
        leverages = [1 - metric.leverage[h] * 2 * ((Z - P[:, y])[h, i] ** 2).sum() for h in range(X.shape[1])]
        for h, left in enumerate(leverages):
            if left < 0.05 or len(np.flatnonzero(y == y[i])) < 2:
                continue  # held back there, by design
            expected = cosine_similarity(X[i : i + 1], refit.means, there)[0, h]
            np.testing.assert_allclose(closed[i, h], expected, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_the_ridge_is_scikit_learns_at_every_strength(seed: int) -> None:
    rng = np.random.default_rng(seed)
    F, Q, y, weights = rng.normal(size=(12, 5)), rng.normal(size=(4, 5)), np.arange(12) % 3, rng.uniform(0.5, 2, 12)
    targets = np.eye(3)[y] - 1 / 3
    path = ridge_path(F @ F.T, Q @ F.T, y, 3, weights)
    for strength, scores in zip(STRENGTHS, path, strict=True):
        theirs = Ridge(alpha=strength, fit_intercept=False).fit(F, targets, sample_weight=weights)
        np.testing.assert_allclose(scores, theirs.predict(Q), atol=1e-7)
        dual = solve_ridge(F @ F.T, y, 3, strength, weights)
        np.testing.assert_allclose(Q @ F.T @ dual, scores, atol=1e-7)


def test_a_strength_too_small_to_solve_for_is_refused() -> None:
    kernel = np.ones((300, 300), dtype=np.float32)
    with pytest.raises(ValueError, match="strength 1e-20 is too small to solve for in float32"):
        solve_ridge(kernel, np.arange(300) % 2, 2, 1e-20, np.ones(300))


@settings(max_examples=50, deadline=None)
@given(seed=seeds, folds=st.integers(2, 6))
def test_folds_hold_every_class_and_keep_equal_clips_together(seed: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 30)
    key = rng.integers(0, 12, 30) / 7 + y / 100  # classes share no clip
    dealt = deal_folds(key, y, folds)
    order, names = rng.permutation(30), rng.permutation(4)
    np.testing.assert_array_equal(deal_folds(key[order], names[y[order]], folds), dealt[order])
    for c in np.unique(y):
        for value in np.unique(key[y == c]):
            assert len(set(dealt[(y == c) & (key == value)])) == 1
        for fold in set(dealt[y == c]) - {-1}:
            assert ((y == c) & (dealt != fold)).any()  # something is left to learn it from


def test_the_probe_is_scikit_learns_on_concatenated_unit_heads() -> None:
    F, y = make_classification(80, 24, n_informative=8, n_classes=3, random_state=0)
    X = F.reshape(80, 6, 4)
    probe = LinearProbeClassifier(C=3.0).fit(X[:50], y[:50])
    theirs = LogisticRegression(C=3.0, max_iter=5000, tol=1e-9).fit(unit_vectors(X[:50]).reshape(50, 24), y[:50])
    expected = theirs.predict_proba(unit_vectors(X[50:]).reshape(30, 24))
    np.testing.assert_allclose(probe.predict_proba(X[50:]), expected, atol=1e-3)
    assert LinearProbeClassifier().fit(X, y).C_ in (0.01, 0.1, 1.0, 10.0, 100.0)


def test_calibration_error_by_hand() -> None:
    p = [[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.65, 0.35]]
    # Bins: 0.9-1.0 holds two, one right (gap 0.45); 0.6-0.7 one, wrong (0.65); 0.7-0.8 one, right (0.3).
    assert expected_calibration_error(p, [0, 1, 1, 1]) == pytest.approx((2 * 0.45 + 0.65 + 0.3) / 4)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, classifier=classifiers)
def test_what_heads_add_makes_up_the_lead(seed: int, classifier: HeadClassifier) -> None:
    X, y, Q = few_shot_task(seed)
    why = classifier.fit(X, y).explain(Q)
    assert why.labels.tolist() == classifier.predict(Q).tolist()
    if isinstance(classifier, CALMClassifier | GlobalWeightClassifier):
        scores = classifier._scores(Q)
        lead = np.sort(scores, axis=1)[:, -1] - np.sort(scores, axis=1)[:, -2]
        np.testing.assert_allclose(why.importance.sum(axis=1), lead, atol=1e-9)


# --- growing ---


@settings(max_examples=20, deadline=None)
@given(seed=seeds, classifier=st.sampled_from([UniformVoteClassifier(), NearestMeanClassifier()]))
def test_growing_equals_a_fit_on_all_clips_where_prototypes_are_all(seed: int, classifier: HeadClassifier) -> None:
    X, y, Q = few_shot_task(seed)
    first = np.isin(np.arange(len(y)), [np.flatnonzero(y == c)[0] for c in (0, 1)])
    grown = clone(classifier).fit(X[first], y[first]).partial_fit(X[~first], y[~first])
    whole = clone(classifier).fit(X, y)
    assert grown.class_count_.tolist() == whole.class_count_.tolist()
    np.testing.assert_allclose(grown.predict_proba(Q), whole.predict_proba(Q), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_growing_calm_has_the_whitening_of_a_fit_on_all_clips(seed: int) -> None:
    X, y, Q = few_shot_task(seed)
    first = np.isin(np.arange(len(y)), [np.flatnonzero(y == c)[:2] for c in (0, 1)])
    assume(not first.all())
    grown = CALMClassifier().fit(X[first], y[first]).partial_fit(X[~first], y[~first])
    whole = CALMClassifier().fit(X, y)
    np.testing.assert_allclose(grown.prototypes_, whole.prototypes_, atol=1e-9)
    np.testing.assert_allclose(grown.scatter_, whole.scatter_, atol=1e-9)
    assert grown.predict_proba(Q).shape == (len(Q), y.max() + 1)


def test_a_new_class_is_learnt_without_the_old_clips_and_the_old_ones_are_kept() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 20)
    X = 4 * np.eye(6)[y][:, None] + rng.normal(size=(60, 3, 6))
    names = np.array(["rain", "dog", "wind"])[y]
    support = np.arange(60) % 4 == 0
    old = support & (y < 2)
    for clf in (CALMClassifier(), CALMClassifier.published(), SAVClassifier(), GlobalWeightClassifier()):
        clf.fit(X[old], names[old])
        clf.partial_fit(X[support & (y == 2)], names[support & (y == 2)])
        assert clf.classes_.tolist() == ["dog", "rain", "wind"]
        assert clf.class_count_.tolist() == [5, 5, 5]
        assert clf.score(X[~support], names[~support]) > 0.85, type(clf).__name__
