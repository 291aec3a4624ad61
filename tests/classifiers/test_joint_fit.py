"""Whitening, leave-one-out and the joint fit are compared with refits and with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge

import calm.classifiers.joint_fit
import calm.classifiers.support_set
import calm.fit.parallel
from calm import CALMClassifier, LinearProbeClassifier
from calm.fit import (
    Metric,
    assign_folds,
    class_statistics,
    cosine_similarity,
    expected_calibration_error,
    leave_one_out_similarity,
    merge_statistics,
    oas_shrinkage,
    ridge_path,
    solve_ridge,
    unit_vectors,
    whitening,
)
from calm.fit.ridge import STRENGTHS
from tests.tasks import few_shot_task

seeds = st.integers(0, 2**32 - 1)


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


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_whitening_without_shrinkage_is_safe_where_clips_are_fewer_than_dimensions(library: Any, dtype: type) -> None:
    rng, y = np.random.default_rng(0), np.arange(30) % 3
    X: NDArray = (rng.normal(size=(30, 6, 64)) + 2 * rng.normal(size=(3, 6, 64))[y]).astype(dtype)
    clf = CALMClassifier(whitening=0.0).fit(library(X), y)
    metric = clf._compute_metric()
    assert metric is not None
    # Directions in which clips vary have variance one; the others are not stretched beyond rounding errors.
    transform = np.asarray(metric.transform, dtype=np.float64)
    scatter = np.asarray(clf.scatter_, dtype=np.float64) / 27
    variances = np.linalg.eigvalsh(transform.transpose(0, 2, 1) @ scatter @ transform)
    assert variances.max() < 1.1 and (variances > 0.9).sum(axis=1).min() >= 26
    assert clf.score(library(X), y) == 1.0


def test_oas_is_the_published_formula_and_shrinks_less_with_more_clips() -> None:
    covariance = np.diag([9.0, 4.0, 1.0, 0.5])
    for n in (3, 10, 100):
        trace, squared, p = covariance.trace(), (covariance**2).sum(), 4
        rho = ((1 - 2 / p) * squared + trace**2) / ((n + 1 - 2 / p) * (squared - trace**2 / p))
        assert oas_shrinkage(covariance[None], n)[0] == pytest.approx(min(rho, 1.0))
    assert oas_shrinkage(np.eye(4)[None], 50)[0] == 1.0  # an isotropic covariance is shrunk completely


def shrunk_metric(X: NDArray, y: NDArray, gamma: float, level: NDArray, centre: NDArray) -> Metric:
    """Whiten with fixed centre, level and strength, as leave-one-out does."""
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
                continue  # the closed form bounds such a clip by design
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
    with pytest.raises(ValueError, match="strength 1e-20 is too small for a float32 kernel"):
        solve_ridge(kernel, np.arange(300) % 2, 2, 1e-20, np.ones(300))


@settings(max_examples=50, deadline=None)
@given(seed=seeds, folds=st.integers(2, 6))
def test_folds_hold_every_class_and_keep_equal_clips_together(seed: int, folds: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, 30)
    key = rng.integers(0, 12, 30) / 7 + y / 100  # equal keys only within a class
    dealt = assign_folds(key, y, folds)
    order, names = rng.permutation(30), rng.permutation(4)
    np.testing.assert_array_equal(assign_folds(key[order], names[y[order]], folds), dealt[order])
    for c in np.unique(y):
        for value in np.unique(key[y == c]):
            assert len(set(dealt[(y == c) & (key == value)])) == 1
        for fold in set(dealt[y == c]) - {-1}:
            assert ((y == c) & (dealt != fold)).any()  # the class has training clips


def test_the_probe_is_scikit_learns_on_concatenated_unit_heads() -> None:
    F, y = make_classification(80, 24, n_informative=8, n_classes=3, random_state=0)
    X = F.reshape(80, 6, 4)
    probe = LinearProbeClassifier(C=3.0).fit(X[:50], y[:50])
    theirs = LogisticRegression(C=3.0, max_iter=5000, tol=1e-9).fit(unit_vectors(X[:50]).reshape(50, 24), y[:50])
    expected = theirs.predict_proba(unit_vectors(X[50:]).reshape(30, 24))
    np.testing.assert_allclose(probe.predict_proba(X[50:]), expected, atol=1e-3)
    assert LinearProbeClassifier().fit(X, y).C_ in (0.01, 0.1, 1.0, 10.0, 100.0)


def test_the_probe_is_the_same_in_every_run_on_several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (calm.classifiers.support_set, calm.classifiers.joint_fit, calm.fit.parallel):
        monkeypatch.setattr(module, "available_cores", lambda: 4)
    rng, y = np.random.default_rng(0), np.arange(40) % 4
    X = (rng.normal(size=(40, 256, 64)) + 0.3 * rng.normal(size=(4, 256, 64))[y]).astype(np.float32)
    fits = [LinearProbeClassifier(C=1.0).fit(X, y) for _ in range(20)]
    assert len({fit.directions_.tobytes() for fit in fits}) == 1


def test_calibration_error_by_hand() -> None:
    p = [[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.65, 0.35]]
    # Bin 0.9-1.0: two clips, one correct, gap 0.45. Bin 0.6-0.7: one, wrong, 0.65. Bin 0.7-0.8: one, correct, 0.3.
    assert expected_calibration_error(p, [0, 1, 1, 1]) == pytest.approx((2 * 0.45 + 0.65 + 0.3) / 4)
