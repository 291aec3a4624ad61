"""Head specialization: the interaction of heads and classes in recall, without sampling noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.fit import head_recall, head_specialization
from calm.fit.posterior import unit_vectors


def planted(strong: np.ndarray, clips: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make noise plus a class direction in each head; ``strong`` (n_heads, n_classes) scales the directions."""
    rng = np.random.default_rng(seed)
    heads, classes = strong.shape
    y = np.repeat(np.arange(classes), clips)
    directions = unit_vectors(rng.normal(size=(classes, heads, 16)))
    return rng.normal(size=(len(y), heads, 16)) + 30 * strong.T[y][:, :, None] * directions[y], y


def test_recall_is_what_refitting_without_each_clip_gives() -> None:
    X, y = planted(np.array([[0.1, 0.0, 0.05], [0.0, 0.1, 0.0]]), clips=5)
    hits = np.zeros((2, 3))
    for i in range(len(X)):
        for k in range(2):
            means = [np.mean([X[j, k] for j in range(len(X)) if j != i and y[j] == c], axis=0) for c in range(3)]
            cosines = [X[i, k] @ m / np.linalg.norm(m) for m in means]
            hits[k, y[i]] += np.argmax(cosines) == y[i]
    np.testing.assert_allclose(head_recall(X, y), hits / 5)


def test_heads_that_recognize_one_class_are_specialized_and_heads_good_at_all_are_not() -> None:
    specialists, generalists, deaf = np.eye(6), np.ones((6, 6)), np.zeros((6, 6))
    assert head_specialization(*planted(specialists)) > 1.5
    assert head_specialization(*planted(generalists)) < 1e-9  # every recall is 1
    assert head_specialization(*planted(deaf, clips=20)) < 0.2


def test_good_and_bad_heads_are_not_specialized() -> None:
    assert head_specialization(*planted(np.repeat([[1.0], [1.0], [0.0], [0.0]], 5, axis=1), clips=30)) < 0.2


def test_the_measure_is_unbiased_where_chance_explains_all() -> None:
    measured = [head_specialization(*planted(np.zeros((20, 5)), clips=6, seed=seed)) for seed in range(8)]
    assert np.mean(np.square(measured)) < 0.03  # the log odds of a recall of three clips have a variance near 1


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_size_and_order_of_heads_do_not_matter(scale: float, seed: int) -> None:
    X, y = planted(np.eye(4) * 0.1, clips=6)
    order = np.random.default_rng(seed).permutation(4)
    expected = head_specialization(X, y, n_splits=3)
    assert head_specialization(scale * X[:, order], y, n_splits=3) == pytest.approx(expected, abs=1e-9)


def test_too_few_clips_classes_or_heads_are_refused() -> None:
    X, y = planted(np.eye(3), clips=4)
    with pytest.raises(ValueError, match="class 1 has 3"):
        head_specialization(np.delete(X, 4, axis=0), np.delete(y, 4))
    with pytest.raises(ValueError, match="two classes and two heads, got 3 and 1"):
        head_specialization(X[:, :1], y)
    with pytest.raises(ValueError, match="class 2 has 1"):
        head_recall(X[:9], y[:9])
