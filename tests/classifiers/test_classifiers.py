"""The estimators follow the scikit-learn API, and read large inputs in blocks."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import calm.classifiers.held_out
import calm.classifiers.inputs
import calm.classifiers.joint_fit
import calm.classifiers.support_set
import calm.fit.vote
from calm import (
    CALMClassifier,
    HeadCache,
    SAVClassifier,
    UniformVoteClassifier,
    load,
    make_method,
    predict_audio,
)
from calm.classifiers.base import HeadClassifier
from calm.evaluation.plots import plot_head_weights
from calm.fit import sparse_vote, vote_with_tie_break
from tests.tasks import CLASSIFIERS, a_grid, cache_of, task


@pytest.mark.filterwarnings("ignore:X has shape:UserWarning")  # the checks pass flat vectors
@parametrize_with_checks(CLASSIFIERS)
def test_scikit_learn_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_every_shape_of_x_gives_the_same_answer(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    expected = classifier.fit(X, y).predict_proba(X)
    layered = X.reshape(24, 3, 2, 8)
    np.testing.assert_allclose(classifier.fit(layered, y).predict_proba(layered), expected, rtol=1e-6)
    flat = clone(classifier).set_params(n_heads=6)
    np.testing.assert_allclose(flat.fit(X.reshape(24, 48), y).predict_proba(X.reshape(24, 48)), expected, rtol=1e-6)
    lists = clone(classifier).fit(layered.tolist(), y.tolist())
    np.testing.assert_allclose(lists.predict_proba(layered.tolist()), expected, atol=1e-4)  # lists become float64
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        np.testing.assert_allclose(classifier.fit(cache, y).predict_proba(cache), expected, rtol=1e-6)
        np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-6)
        assert classifier.score(cache[3:9], y[3:9]) == classifier.score(X[3:9], y[3:9])


def test_the_size_of_blocks_does_not_matter(classifier: HeadClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = task()
    whole = classifier.fit(X, y).predict_proba(X)
    for name, size in (("_CACHED_NUMBERS", 5 * 8), ("_QUERY_CLIPS", 5)):
        monkeypatch.setattr(calm.classifiers.inputs, name, size)
    monkeypatch.setattr(calm.fit.vote, "_CACHED", 7 * 8)
    assert len(calm.classifiers.inputs.head_blocks(calm.classifiers.inputs.ArrayHeads(X), 32 * 8 * 2)) == 3
    monkeypatch.setattr(
        calm.classifiers.support_set,
        "head_blocks",
        lambda heads, *_: calm.classifiers.inputs.head_blocks(heads, 32 * 8 * 2),
    )
    monkeypatch.setattr(calm.classifiers.joint_fit, "_KERNEL_NUMBERS", 24 * 8 * 3)
    np.testing.assert_allclose(classifier.fit(X, y).predict_proba(X), whole, rtol=1e-4, atol=1e-6)


def test_a_large_support_set_is_split_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = task(120)
    monkeypatch.setattr(calm.classifiers.held_out, "MAX_CLIPS", 40)
    monkeypatch.setattr(calm.classifiers.joint_fit, "MAX_CLIPS", 70)
    clf = CALMClassifier().fit(X, y)
    assert len(clf.typical_scores_) == 40
    assert clf.score(X, y) > 0.95 and clf.held_out_accuracy_ > 0.8


@pytest.mark.parametrize("labels", [[0, 1, 2], [2.0, -1.0, 3.0], [True, False, True], ["a", "ß", "c"]])
def test_labels_of_any_kind_come_back_as_they_were(
    classifier: HeadClassifier, labels: list[Any], tmp_path: Path
) -> None:
    X, _ = task()
    y = np.array(labels)[np.arange(24) % 3]
    predicted = classifier.fit(X, y).predict(X)
    assert predicted.dtype == y.dtype
    classifier.save(tmp_path / "clf.safetensors")
    again = load(tmp_path / "clf.safetensors").predict(X)
    np.testing.assert_array_equal(again, predicted)
    assert again.dtype == y.dtype


def test_it_works_in_the_tools_of_scikit_learn(classifier: HeadClassifier) -> None:
    X, y = task(30)
    assert cross_val_score(classifier, X, y, cv=3).mean() > 0.8
    assert GridSearchCV(classifier, a_grid(classifier), cv=3).fit(X, y).best_score_ > 0.8
    pipe = make_pipeline(FunctionTransformer(np.square), classifier).set_output(transform="default")
    assert pipe.fit(X, y).score(X, y) > 0.5
    again = pickle.loads(pickle.dumps(classifier.fit(X, y)))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 3, 2)), ["a"] * 4, "fit needs at least two classes, but the support set has only one class, 'a'"),
        (np.zeros((4, 3, 2)), ["a", "b"], "inconsistent numbers of samples"),
        (np.full((4, 3, 2), np.inf), ["a", "b"] * 2, "infinity"),
        (np.zeros((2, 2, 2, 2, 2)), ["a", "b"], r"X has shape \(2, 2, 2, 2, 2\); expected \(clips, heads, dim\)"),
        (np.zeros((4, 3, 2)), [0.1, 0.2, 0.3, 0.4], "Unknown label type"),
    ],
)
def test_bad_support_sets_are_refused(classifier: HeadClassifier, X: NDArray, y: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, y)


@pytest.mark.filterwarnings("ignore:X has shape:UserWarning")
def test_a_later_fit_forgets_the_columns_of_an_earlier_one(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    frame = pd.DataFrame(X.reshape(24, 48)).rename(columns="feature {}".format)
    assert len(classifier.fit(frame, y).feature_names_in_) == 48
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        assert not hasattr(classifier.fit(cache, y), "feature_names_in_")


def test_vectors_of_zeros_are_fitted_by_every_method(classifier: HeadClassifier) -> None:
    p = classifier.fit(np.zeros((8, 3, 4)), [0, 1] * 4).predict_proba(np.zeros((2, 3, 4)))
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_flat_vectors_that_do_not_split_are_refused(classifier: HeadClassifier) -> None:
    with pytest.raises(ValueError, match="7 features per clip, which is not a multiple of n_heads=2"):
        classifier.set_params(n_heads=2).fit(np.ones((4, 7)), [0, 1, 0, 1])


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy, pd.DataFrame, lambda X: X.tolist()])
def test_flat_vectors_are_one_head_with_a_warning(classifier: HeadClassifier, form: Any) -> None:
    X, y = task()
    flat = X.reshape(24, 48)
    with pytest.warns(UserWarning, match=r"X has shape \(24, 48\), so each clip is one head of .* set n_heads"):
        expected = classifier.fit(form(flat), y).predict(form(flat))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_head = clone(classifier).set_params(n_heads=1).fit(form(flat), y)
        clone(classifier).set_params(n_heads=6).fit(form(flat), y)
        clone(classifier).fit(X, y)
    np.testing.assert_array_equal(one_head.predict(form(flat)), expected)


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
def test_a_single_clip_without_the_axis_of_clips_is_refused(classifier: HeadClassifier, form: Any) -> None:
    X, y = task()
    layered = X.reshape(24, 3, 2, 8)
    classifier.fit(form(layered), y)
    for clip in (layered[0], X[0]):
        for method in (classifier.predict, classifier.predict_proba, classifier.explain):
            with pytest.raises(ValueError, match=r"which is one clip: pass X\[:1\] instead of X\[0\]"):
                method(form(clip))
    assert len(classifier.predict(form(layered[:1]))) == 1
    with pytest.raises(ValueError, match="one clip"):
        clone(classifier).fit(form(X), y).predict(form(X[0]))


def test_one_layer_or_one_head_is_never_taken_for_one_clip(classifier: HeadClassifier) -> None:
    X, y = task()
    for vectors in (X[:, None], X[:, :1], X[:, None, :1]):
        assert len(clone(classifier).fit(vectors, y).predict(vectors[:3])) == 3
    square = X[:, :, :6]  # six heads of six dimensions
    assert len(clone(classifier).fit(square, y).predict(square[:6])) == 6
    assert (
        len(clone(classifier).set_params(n_heads=6).fit(square.reshape(24, 36), y).predict(square.reshape(24, 36)))
        == 24
    )


def test_a_classifier_that_is_not_fitted_says_so(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    uses = [
        lambda: classifier.predict(X),
        lambda: classifier.predict_log_proba(X),
        lambda: classifier.score(X, y),
        lambda: classifier.explain(X),
        lambda: classifier.save(tmp_path / "clf.safetensors"),
        lambda: classifier.head_names_,
        lambda: classifier.used_layers_,
        lambda: predict_audio(classifier, []),
        lambda: plot_head_weights(None, classifier),
    ]
    if hasattr(type(classifier), "reliability_"):
        uses.append(lambda: classifier.reliability_)
    for use in uses:
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            use()


@pytest.mark.parametrize("form", [np.asarray, torch.from_numpy])
def test_logarithms_of_probabilities_do_not_underflow(classifier: HeadClassifier, form: Any) -> None:
    X, y = task()
    classifier.fit(form(X), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log = np.asarray(classifier.predict_log_proba(form(X)))
    p = np.asarray(classifier.predict_proba(form(X)))
    np.testing.assert_allclose(np.exp(log), p, rtol=1e-4, atol=1e-7)
    assert (log <= 0).all() and not np.isnan(log).any()


def test_probabilities_too_small_for_floats_have_a_finite_logarithm() -> None:
    X, y = task()
    clf = CALMClassifier().fit(X, y)
    clf.temperature_ = 1e-4
    assert (clf.predict_proba(X) == 0).any()
    assert np.isfinite(clf.predict_log_proba(X)).all()


def test_a_parameter_that_a_method_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(
        ValueError, match=r"^method 'sav' has no parameter 'heads'; its parameters are n_heads, top_heads$"
    ):
        make_method("sav", heads=3)


def test_queries_of_another_size_are_refused(classifier: HeadClassifier) -> None:
    X, y = task()
    with pytest.raises(ValueError, match="X has 6 heads of dimension 4, but this .* was fitted on 6 heads of dim.* 8"):
        classifier.fit(X, y).predict(X[:, :, :4])


def test_no_queries_give_no_answers(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        assert classifier.fit(cache, y).predict(cache[:0]).shape == (0,)


def test_nothing_is_read_only_to_learn_a_type(
    classifier: HeadClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = task()
    sizes, read = list[int](), HeadCache.read

    def noted(*args: Any) -> NDArray[np.float32]:
        vectors = read(*args)
        sizes.append(vectors.size)
        return vectors

    monkeypatch.setattr(HeadCache, "read", noted)
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        classifier.fit(cache, y).predict(cache)
        if hasattr(classifier, "partial_fit"):
            classifier.partial_fit(cache, y)
    assert sizes and min(sizes) >= 8


def test_clips_without_a_label_are_no_class(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    y[3] = ""
    with (
        cache_of(tmp_path / "heads.h5", X, y) as cache,
        pytest.raises(ValueError, match="clips without a label"),
    ):
        classifier.fit(cache, cache.labels)


def test_a_cache_goes_to_other_processes_by_its_path(tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        again = pickle.loads(pickle.dumps(cache[2:7]))
        np.testing.assert_array_equal(np.asarray(again), np.asarray(cache[2:7]))
        assert repr(again).startswith("HeadRows(5 of HeadCache(")


def test_rows_and_labels_must_be_as_many(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y) as cache, pytest.raises(ValueError, match="inconsistent numbers"):
        classifier.fit(cache, y[:5])


def test_sav_breaks_ties_by_similarity() -> None:
    # Two heads, one similar to each class; the second head has the larger similarity.
    X = np.array([[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]])
    clf = SAVClassifier(top_heads=2).fit(X, ["a", "b"])
    query = np.array([[[1.0, 0.9], [0.1, 1]]])
    assert clf.predict(query) == ["b"]
    np.testing.assert_allclose(clf.predict_proba(query), 0.5, atol=1e-3)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("clf", [SAVClassifier(top_heads=1024), UniformVoteClassifier(voting="hard")])
@pytest.mark.parametrize("heads", [2, 20, 1024])
def test_a_tie_goes_to_the_class_with_the_larger_mean_similarity(heads: int, clf: HeadClassifier, library: Any) -> None:
    """Two classes get half of the votes each; a third class gets no vote, but has the largest mean similarity."""
    X = np.zeros((3, heads, 4), dtype=np.float32)
    X[0, :, 0] = X[1, :, 1] = X[2, :, 2] = 1
    clf = clone(clf).fit(library(X), ["a", "b", "c"])
    query = np.zeros((4, heads, 4), dtype=np.float32)
    query[:, :, 3] = 1  # a dimension that no prototype has
    query[:, : heads // 2, 0] = query[:, heads // 2 :, 1] = 1
    query[0, : heads // 2, 0], query[1, heads // 2 :, 1] = 1.001, 1.001  # slightly more similar
    query[2, : heads // 2, 0], query[3, heads // 2 :, 1] = 1.3, 1.3
    query[:, :, 2] = 0.99
    expected = ["a", "b", "a", "b"]
    assert clf.predict(library(query)).tolist() == expected
    p = np.asarray(clf.predict_proba(library(query)))
    assert clf.classes_[p.argmax(axis=1)].tolist() == expected
    np.testing.assert_allclose(p, [[0.5, 0.5, 0]] * 4, atol=2e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), heads=st.sampled_from([3, 20, 1025]), classes=st.integers(2, 40))
def test_no_tie_break_outvotes_a_head(seed: int, heads: int, classes: int) -> None:
    similarity = np.random.default_rng(seed).normal(size=(5, heads, classes)).astype(np.float32)
    votes, settled = sparse_vote(similarity), vote_with_tie_break(similarity)
    assert ((settled >= votes) & (settled < votes + 1)).all()
    order = np.lexsort((similarity.mean(axis=1), votes))  # by votes, then by similarity
    np.testing.assert_array_equal(np.argsort(settled, axis=1), order)
