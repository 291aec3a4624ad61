"""Support sets are stratified and seeded, and share no group with the queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.fit import draw_support, split_by_group

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, shots=st.integers(1, 4), n_classes=st.integers(1, 4))
def test_every_class_gives_as_many_clips_as_shots_and_the_rest_may_be_queried(
    seed: int, shots: int, n_classes: int
) -> None:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(n_classes), shots + 2))
    support, query = draw_support(y, shots, seed=seed)
    assert np.bincount(y[support]).tolist() == [shots] * n_classes
    assert sorted([*support, *query]) == list(range(len(y)))


@given(seed=seeds, shots=st.integers(1, 3))
def test_no_group_stands_on_both_sides(seed: int, shots: int) -> None:
    rng = np.random.default_rng(seed)
    y, groups = rng.integers(0, 3, 60), rng.integers(0, 12, 60)
    y[:9] = np.arange(9) % 3
    support, query = draw_support(y, shots, groups=groups, seed=seed)
    assert np.bincount(y[support]).tolist() == [shots] * 3
    assert not set(groups[support]) & set(groups[query])


def test_groups_that_are_not_needed_are_left_to_query() -> None:
    y, folds = np.tile(np.repeat(np.arange(10), 8), 5), np.repeat(np.arange(5), 80)
    support, query = draw_support(y, 5, groups=folds, seed=1)
    assert len(set(folds[support])) == 1
    assert len(query) == 4 * 80


def test_the_same_seed_draws_the_same_clips_and_another_seed_others() -> None:
    y = np.repeat(["a", "b"], 20)
    first, again, other = (draw_support(y, 5, seed=seed)[0] for seed in (7, 7, 8))
    assert first.tolist() == again.tolist() != other.tolist()


def test_classes_with_fewer_clips_than_shots_are_named() -> None:
    with pytest.raises(ValueError, match=r"fewer clips than 3 shots in: cat \(2\), owl \(1\)"):
        draw_support(["cat", "cat", "dog", "dog", "dog", "owl"], 3)


def test_zero_shots_are_refused() -> None:
    with pytest.raises(ValueError, match="shots must be at least 1"):
        draw_support([0, 1], 0)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_groups_are_chosen_as_by_looking_at_each_in_turn(clips: list[tuple[int, int]], shots: int, seed: int) -> None:
    y, groups = np.array(clips).T
    names, group_of = np.unique(groups, return_inverse=True)
    missing, chosen = dict.fromkeys(np.unique(y).tolist(), shots), set[int]()
    for group in np.random.default_rng(seed).permutation(len(names)).tolist():
        own = y[group_of == group].tolist()
        if any(missing[c] > 0 for c in own):
            chosen.add(group)
            for c in own:
                missing[c] -= 1
    np.testing.assert_array_equal(split_by_group(y, groups, shots, seed), np.isin(group_of, list(chosen)))
