"""Movement: heads that hardly move with the input have little weight, above all where support clips are few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError

from calm import CALMClassifier, load
from tests.tasks import task


def still_and_moving_heads(shots: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Make clips of four classes with 20 heads, of which only the first moves; noise of the others is tiny."""
    rng = np.random.default_rng(seed)
    y = np.repeat(["a", "b", "c", "d"], shots)
    X = rng.normal(size=(20, 8)) + 0.001 * rng.normal(size=(len(y), 20, 8))
    directions = np.repeat(np.eye(8)[:4], shots, axis=0)
    X[:, 0] = directions + 0.1 * rng.normal(size=(len(y), 8))
    return X, y


def naive_movement(X: NDArray[np.floating], y: NDArray[np.str_]) -> NDArray[np.float64]:
    """Compute the published margin of each head with loops."""
    classes, movement = np.unique(y), np.zeros(X.shape[1])
    for head in range(X.shape[1]):
        prototypes = [X[y == c, head].mean(axis=0) for c in classes]
        by_class = []
        for c in range(len(classes)):
            margins = []
            for x in X[y == classes[c], head]:
                cosines = np.array([x @ m / np.linalg.norm(x) / np.linalg.norm(m) for m in prototypes])
                p = np.exp(cosines / 0.07) / np.exp(cosines / 0.07).sum()
                margins.append(max(0, p[c] - max(np.delete(p, c))))
            by_class.append(np.mean(margins))
        movement[head] = np.mean(by_class)
    return movement


@given(clips=st.integers(3, 12), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_movement_is_the_published_margin(clips: int, seed: int) -> None:
    X, y = task(clips, seed=seed)
    movement = CALMClassifier().fit(X, y).movement_
    assert movement is not None
    np.testing.assert_allclose(movement, naive_movement(X, y), rtol=1e-3, atol=1e-5)


def test_still_heads_decide_nothing_with_one_clip_per_class() -> None:
    X, y = still_and_moving_heads(1)
    queries, truth = still_and_moving_heads(30, seed=0)
    queries[:, 1:] = X[:1, 1:] + 0.001 * np.random.default_rng(9).normal(size=queries[:, 1:].shape)
    clf = CALMClassifier().fit(X, y)
    assert clf.head_weights_[0].min() > 0.9
    assert clf.score(queries, truth) == 1.0
    assert CALMClassifier(movement=None).fit(X, y).score(queries, truth) < 0.9


@pytest.mark.parametrize("shots", [1, 3, 11])
def test_movement_counts_less_with_more_clips(shots: int) -> None:
    X, y = task(3 * shots)
    clf = CALMClassifier(combine="vote", movement=2.0, weight_temperature=1.0).fit(X, y)
    reliability = np.where((clf.reliability_ > 0).any(axis=0), np.maximum(clf.reliability_, 0), 1.0)
    assert clf.movement_ is not None
    expected = reliability * clf.movement_[:, None] ** (2 / (2 + shots - 1))
    np.testing.assert_allclose(clf.head_weights_, expected / expected.sum(axis=0), rtol=1e-6)


def test_movement_follows_new_clips_and_classes() -> None:
    X, y = task(12)
    first = y != "rooster"
    clf = CALMClassifier().fit(X[first], y[first])
    before = np.array(clf.movement_)
    clf.partial_fit(X[~first], y[~first])
    assert clf.class_movement_ is not None and clf.class_movement_.shape == (X.shape[1], 3)
    assert not np.allclose(np.array(clf.movement_), before)


def test_a_file_keeps_the_movement(tmp_path: Path) -> None:
    X, y = task(12)
    for clf in (CALMClassifier(), CALMClassifier(movement=None), CALMClassifier.published()):
        clf.fit(X, y).save(tmp_path / "calm.safetensors")
        loaded = load(tmp_path / "calm.safetensors")
        assert loaded.movement == clf.movement
        np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
        assert (loaded.movement_ is None) == (clf.movement is None)
        np.testing.assert_array_equal(np.array(loaded.movement_), np.array(clf.movement_))


def test_movement_of_an_unfitted_classifier_says_so() -> None:
    with pytest.raises(NotFittedError):
        _ = CALMClassifier().movement_


def test_movement_must_be_positive() -> None:
    with pytest.raises(ValueError, match="movement"):
        CALMClassifier(movement=0.0).fit(*task())
