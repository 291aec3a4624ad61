"""Typicality is a conformal p-value: it is valid with few groups, has a smallest value, and survives a file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from calm import CALMClassifier, load
from calm.classifiers.held_out import FOLDS, clip_folds, count_equal_clip_folds, held_out_folds
from calm.classifiers.inputs import ArrayHeads
from calm.classifiers.support_set import SupportSet
from tests.tasks import task

N_CLASSES, NAMES = 4, np.array(["dog", "rain", "rooster", "wind"])


def crossed(
    rng: np.random.Generator, means: NDArray[np.float64], groups: int, shots: int
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.int64]]:
    """Return clips of recordings (groups) that contain all classes, ``shots`` clips of each."""
    y = np.tile(np.repeat(np.arange(N_CLASSES), shots), groups)
    group = np.repeat(np.arange(groups), shots * N_CLASSES)
    recordings = 0.3 * rng.normal(size=(groups, *means.shape[1:]))
    X = means[y] + recordings[group] + 0.3 * rng.normal(size=(len(y), *means.shape[1:]))
    return X.astype(np.float32), NAMES[y], group


@pytest.mark.parametrize(("groups", "shots"), [(2, 5), (3, 5)])
def test_the_share_of_known_clips_that_is_rejected_is_near_the_level_with_few_groups(groups: int, shots: int) -> None:
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        means = 0.5 * rng.normal(size=(N_CLASSES, 6, 8))
        X, y, group = crossed(rng, means, groups, shots)
        queries, _, _ = crossed(rng, means, 40, 2)
        shares.append((CALMClassifier().fit(X, y, groups=group).typicality(queries) <= 0.2).mean())
    # With two groups, held-out clips are scored by a fit on half of the clips: 7 % were rejected without a correction.
    assert 0.1 < np.mean(shares) < 0.28


def make_support(groups: int | None, shots: int = 6) -> SupportSet:
    rng = np.random.default_rng(0)
    X, _, group = crossed(rng, rng.normal(size=(N_CLASSES, 2, 4)), groups or 1, shots)
    y = np.tile(np.repeat(np.arange(N_CLASSES), shots), groups or 1)
    return SupportSet(ArrayHeads(X), y, None, N_CLASSES, None if groups is None else group)


@pytest.mark.parametrize(("groups", "expected"), [(None, None), (2, 2), (3, 3), (4, 4), (5, None), (9, None)])
def test_folds_of_few_groups_equal_as_many_folds_of_clips(groups: int | None, expected: int | None) -> None:
    support = make_support(groups)
    sampled, folds = held_out_folds(support)
    assert count_equal_clip_folds(sampled, folds) == expected


def test_folds_of_clips_need_no_correction_even_if_clips_have_groups() -> None:
    support = make_support(1)
    with pytest.warns(UserWarning, match="too few groups"):
        sampled, folds = held_out_folds(support)
    assert count_equal_clip_folds(sampled, folds) is None


@given(groups=st.integers(2, 4), n_folds=st.integers(2, FOLDS))
@settings(deadline=None, max_examples=20)
def test_folds_of_clips_hold_each_clip_out_once(groups: int, n_folds: int) -> None:
    support = make_support(groups)
    folds = clip_folds(support, n_folds)
    assert len(folds) == n_folds
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(len(support.y)))
    assert all(len(np.intersect1d(train, test)) == 0 for train, test in folds)


@given(level=st.floats(0.001, 1))
@settings(deadline=None, max_examples=25)
def test_a_level_below_every_typicality_gives_a_warning_and_rejects_nothing(level: float) -> None:
    X, y = task(24)
    clf = CALMClassifier().fit(X, y)
    smallest = 1 / (len(clf.typical_scores_) + 1)
    assert clf.typicality(-100 * X).min() >= smallest
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = clf.predict(-100 * X, reject=level)
    assert [f"reject={level:g} rejects no clip" in str(w.message) for w in caught] == [True] * (level < smallest)
    if level < smallest:
        assert not (labels == "none of these").any()


def test_one_clip_per_class_has_no_typicality() -> None:
    X, y = task(3)
    with pytest.raises(ValueError, match="typicality is not available.*at least two clips per class"):
        CALMClassifier().fit(X, y).predict(X, reject=0.5)


def test_typicality_is_the_same_from_a_file_and_on_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y, group = crossed(rng, rng.normal(size=(N_CLASSES, 6, 8)), 2, 5)
    queries = rng.normal(size=(50, 6, 8)).astype(np.float32)
    clf = CALMClassifier().fit(X, y, groups=group)
    expected = clf.typicality(queries)
    clf.save(tmp_path / "clf.safetensors")
    loaded = load(tmp_path / "clf.safetensors")
    assert isinstance(loaded, CALMClassifier)
    np.testing.assert_array_equal(loaded.typicality(queries), expected)
    on_tensors = CALMClassifier().fit(torch.from_numpy(X), y, groups=group)
    np.testing.assert_allclose(on_tensors.typicality(torch.from_numpy(queries)), expected, atol=1.01 / (len(y) + 1))
