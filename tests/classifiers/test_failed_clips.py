"""A clip that could not be read has a row of NaN: it is left out of fits, and gets no label."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import accuracy_score

from calm import CALMClassifier, HeadExtractor
from calm.classifiers.base import HeadClassifier
from calm.classifiers.failed_clips import find_failed_clips
from calm.extract import HeadArray
from tests.tasks import CLASSIFIERS, task

FAILED = [2, 7, 8]


def with_failed(X: NDArray, failed: list[int] = FAILED) -> NDArray:
    """Return head vectors in which the rows of failed clips are NaN."""
    X = X.copy()
    X[failed] = np.nan
    return X


@pytest.mark.parametrize(
    "library", [np.asarray, torch.from_numpy, lambda X: X.tolist()], ids=["numpy", "torch", "list"]
)
@pytest.mark.parametrize("layered", [False, True])
def test_a_fit_leaves_failed_clips_out_with_one_warning(
    classifier: HeadClassifier, library: Any, layered: bool
) -> None:
    X, y = task()
    X = X.reshape(24, 3, 2, 8) if layered else X
    kept = np.delete(np.arange(24), FAILED)
    expected = clone(classifier).fit(library(X[kept]), y[kept]).predict_proba(library(X))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = classifier.fit(library(with_failed(X)), y.tolist())
    assert [str(warning.message) for warning in caught] == [
        "fit leaves out failed clips: the head vectors of 3 of 24 clips are NaN, because the clips could not be read"
    ]
    np.testing.assert_array_equal(np.asarray(fitted.predict_proba(library(X))), np.asarray(expected))


def test_weights_and_groups_of_failed_clips_are_left_out_too() -> None:
    X, y = task(40)
    kept = np.delete(np.arange(40), FAILED)
    weights, groups = np.random.default_rng(0).uniform(0.5, 2, 40), np.arange(40) // 2
    with pytest.warns(UserWarning, match="3 of 40 clips are NaN"):
        fitted = CALMClassifier().fit(with_failed(X), y, weights, groups=groups)
    expected = CALMClassifier().fit(X[kept], y[kept], weights[kept], groups=groups[kept])
    np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))


@pytest.mark.filterwarnings("ignore:failed clips")
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_failed_clips_get_no_label_no_probability_and_count_as_errors(classifier: HeadClassifier, library: Any) -> None:
    X, y = task()
    classifier.fit(library(X), y)
    queries, ok = library(with_failed(X)), np.delete(np.arange(24), FAILED)
    with pytest.warns(UserWarning, match="failed clips get the label 'none of these': the head vectors of 3 of 24"):
        labels = classifier.predict(queries)
    assert labels[FAILED].tolist() == ["none of these"] * 3
    np.testing.assert_array_equal(labels[ok], classifier.predict(library(X))[ok])
    for method in (classifier.predict_proba, classifier.predict_log_proba):
        values = np.asarray(method(queries))
        assert np.isnan(values[FAILED]).all()
        np.testing.assert_allclose(values[ok], np.asarray(method(library(X)))[ok], rtol=1e-5, atol=1e-6)
    weights = np.arange(1.0, 25)
    for sample_weight in (None, weights):
        score = classifier.score(queries, y, sample_weight)
        assert score == pytest.approx(accuracy_score(y, labels, sample_weight=sample_weight))
    assert classifier.score(queries[FAILED], y[FAILED]) == 0


@pytest.mark.filterwarnings("ignore:failed clips")
def test_the_label_of_failed_clips_follows_the_type_of_the_classes() -> None:
    X, _ = task()
    numbers = CALMClassifier().fit(torch.from_numpy(X), np.arange(24) % 3)
    labels = numbers.predict(torch.from_numpy(with_failed(X)))
    assert isinstance(labels, torch.Tensor) and labels[FAILED].tolist() == [-1] * 3
    assert numbers.predict(with_failed(X), reject_label=9)[FAILED].tolist() == [9] * 3
    booleans = CALMClassifier().fit(X, np.arange(24) % 3 == 0)
    with pytest.raises(ValueError, match="boolean labels have no value for a clip without a label"):
        booleans.predict(with_failed(X))
    assert booleans.score(with_failed(X), np.arange(24) % 3 == 0) == pytest.approx(21 / 24)


@pytest.mark.filterwarnings("ignore:failed clips")
def test_a_failed_clip_is_not_typical_of_a_class() -> None:
    X, y = task(40)
    clf = CALMClassifier().fit(X, y)
    assert np.isnan(clf.typicality(with_failed(X))).nonzero()[0].tolist() == FAILED
    assert (clf.predict(with_failed(X), reject=0.0) == "none of these").nonzero()[0].tolist() == FAILED


def test_only_failed_clips_are_an_error(classifier: HeadClassifier) -> None:
    X, y = task()
    with pytest.raises(ValueError, match="no clip is left to fit on: the head vectors of 24 of 24 clips are NaN"):
        classifier.fit(np.full_like(X, np.nan), y)


def test_lengths_are_compared_before_clips_are_left_out(classifier: HeadClassifier) -> None:
    X, y = task()
    with pytest.raises(ValueError, match="inconsistent numbers"):
        classifier.fit(with_failed(X), y[:20])


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_a_clip_with_some_nan_is_an_error(classifier: HeadClassifier, library: Any) -> None:
    X, y = task()
    damaged = with_failed(X)
    damaged[5, 0, 0] = np.nan
    with pytest.warns(UserWarning, match="3 of 24"), pytest.raises(ValueError, match="NaN"):
        classifier.fit(library(damaged), y)
    classifier.fit(library(X), y)
    with pytest.raises(ValueError, match="NaN"):
        classifier.predict(library(damaged))


@pytest.mark.filterwarnings("ignore:f:UserWarning")
@pytest.mark.parametrize("clf", [clf for clf in CLASSIFIERS if hasattr(clf, "partial_fit")], ids=repr)
def test_a_partial_fit_leaves_failed_clips_out(clf: Any) -> None:
    X, y = task()
    kept = np.delete(np.arange(12), FAILED)
    grown = clone(clf).fit(X[12:], y[12:]).partial_fit(with_failed(X[:12]), y[:12])
    expected = clone(clf).fit(X[12:], y[12:]).partial_fit(X[:12][kept], y[:12][kept])
    np.testing.assert_array_equal(grown.predict_proba(X), expected.predict_proba(X))


def test_a_head_array_with_failed_clips_keeps_its_extraction() -> None:
    waves = [np.random.default_rng(i).normal(size=8000) for i in range(6)]
    X = HeadExtractor("tiny", device="cpu").transform(waves)
    failed = HeadArray(with_failed(np.asarray(X), [1]), X.extraction)
    with pytest.warns(UserWarning, match="1 of 6"):
        clf = CALMClassifier().fit(failed, [0, 1] * 3)
    assert clf.extraction_ == X.extraction
    other = HeadArray(
        np.asarray(failed), HeadExtractor("tiny", question="Hm?", device="cpu").transform(waves[:1]).extraction
    )
    with pytest.raises(ValueError, match="prompt"):
        clf.predict(other)


@settings(deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 1.0, np.nan, np.inf]), min_size=24, max_size=24),
    library=st.sampled_from([np.asarray, torch.from_numpy]),
)
def test_a_clip_has_failed_if_all_its_values_are_nan(values: list[float], library: Any) -> None:
    X = np.array(values).reshape(6, 2, 2)
    expected = [all(np.isnan(value) for value in clip.ravel()) for clip in X]
    assert find_failed_clips(library(X)).tolist() == expected


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=repr)
def test_failed_clips_are_not_explained(classifier: HeadClassifier) -> None:
    X, y = task()
    fitted = clone(classifier).fit(X, y)
    X[2] = np.nan
    with pytest.raises(
        ValueError, match="failed clips cannot be explained: the head vectors of 1 of .* Leave them out"
    ):
        fitted.explain(X)
