"""partial_fit adds shots and classes without the previous clips."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from calm import (
    CALMClassifier,
    GlobalWeightClassifier,
    NearestMeanClassifier,
    SAVClassifier,
    UniformVoteClassifier,
)
from calm.classifiers.base import HeadClassifier
from tests.tasks import few_shot_task

seeds = st.integers(0, 2**32 - 1)


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
