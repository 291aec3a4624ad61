"""Features of all methods: sample weights, groups, tensors, few heads, partial_fit, explanations and rejection."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from calm import CALMClassifier, LinearProbeClassifier, SAVClassifier, load, make_method, tune
from calm.classifiers.base import HeadClassifier
from calm.classifiers.registry import METHODS, TITLES
from calm.fit import draw_support
from tests.tasks import cache_of

NAMES = np.array(["dog", "rain", "rooster", "wind"])


def sounds(n: int = 200, heads: int = 12, dim: int = 8, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Make head vectors of four classes, which only a third of the heads separate, with uneven noise."""
    rng, y = np.random.default_rng(seed), np.arange(n) % 4
    means = np.random.default_rng(99).normal(size=(4, heads, dim))
    means[:, heads // 3 :] = 0
    scale = np.exp(np.random.default_rng(98).normal(size=(heads, dim)))
    return ((1.2 * means[y] + rng.normal(size=(n, heads, dim))) * scale + 3).astype(np.float32), NAMES[y]


@pytest.fixture(params=list(METHODS))
def method(request: pytest.FixtureRequest) -> HeadClassifier:
    return clone(METHODS[request.param])


def test_every_method_has_a_title_and_beats_chance(method: HeadClassifier) -> None:
    X, y = sounds()
    assert set(TITLES) == set(METHODS)
    assert method.fit(X[:40], y[:40]).score(X[40:], y[40:]) > 0.4


def test_calm_beats_the_published_setting_where_few_heads_are_informative() -> None:
    scores = {name: [] for name in ("calm", "calm-published", "sav")}  # type: dict[str, list[float]]
    for seed in range(8):
        X, y = sounds(400, heads=24, seed=seed)
        support, query = draw_support(y, 5, seed=seed)
        for name, accuracies in scores.items():
            accuracies.append(make_method(name).fit(X[support], y[support]).score(X[query], y[query]))
    assert np.mean(scores["calm"]) > max(np.mean(scores["calm-published"]), np.mean(scores["sav"])) + 0.03


# --- sample weights and groups ---


def test_a_weight_of_two_duplicates_a_clip_and_a_weight_of_zero_removes_it(method: HeadClassifier) -> None:
    if isinstance(method, LinearProbeClassifier):  # it takes no sample weights
        with pytest.raises(TypeError, match="sample_weight"):
            method.fit(*sounds(20), sample_weight=np.ones(20))  # type: ignore[call-arg]
        return
    X, y = (a.astype(np.float64) if a.dtype.kind == "f" else a for a in sounds(40))
    times = np.random.default_rng(0).integers(0, 4, 40)
    weighted = clone(method).fit(X, y, sample_weight=times)
    repeated = clone(method).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-6)
    assert weighted.class_count_.tolist() == repeated.class_count_.tolist()


def test_weights_are_routed_through_pipelines_and_searches() -> None:
    X, y = sounds(60)
    weights = np.where(np.arange(60) % 5 == 0, 0.0, 1.0)
    with config_context(enable_metadata_routing=True):
        clf = CALMClassifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(clf, {"top_heads": [2, None]}, cv=3).fit(X, y, sample_weight=weights)
        pipe = make_pipeline(FunctionTransformer(), clf).fit(X, y, sample_weight=weights)
        scores = cross_validate(clf, X, y, cv=3, params={"sample_weight": weights})["test_score"]
    kept = weights > 0
    np.testing.assert_allclose(
        pipe.predict_proba(X), CALMClassifier().fit(X[kept], y[kept]).predict_proba(X), atol=1e-4
    )
    assert search.best_score_ > 0.5 and scores.mean() > 0.5


def test_small_sample_weights_give_the_same_head_weights() -> None:
    X, y = sounds(40)
    fractions = CALMClassifier().fit(X, y, sample_weight=np.full(40, 0.15))  # total weight 1.5 per class
    assert (fractions.judged_count_ > 0).all()
    whole = CALMClassifier().fit(X, y)
    assert np.corrcoef(fractions.reliability_.ravel(), whole.reliability_.ravel())[0, 1] > 0.8


def test_groups_are_held_out_together_and_routed() -> None:
    """Each recording has three nearly equal clips: if clips are held out individually, their copies leak the label."""
    X, y = sounds(60, seed=3)
    rng = np.random.default_rng(0)
    X = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)  # no class information, only recordings
    X, y, recording = np.repeat(X, 3, axis=0), np.repeat(y, 3), np.repeat(np.arange(60), 3)
    X = X + 0.01 * rng.normal(size=X.shape).astype(np.float32)
    assert CALMClassifier().fit(X, y).held_out_accuracy_ > 0.9
    honest = CALMClassifier().fit(X, y, groups=recording)
    assert honest.held_out_accuracy_ < 0.5
    for clf in (CALMClassifier(), LinearProbeClassifier()):
        with config_context(enable_metadata_routing=True):
            pipe = make_pipeline(FunctionTransformer(), clf.set_fit_request(groups=True)).fit(X, y, groups=recording)
        grouped = clone(clf).fit(X, y, groups=[f"r{r:02}" for r in recording])
        np.testing.assert_allclose(pipe.predict_proba(X), grouped.predict_proba(X), atol=1e-5)
    with pytest.raises(ValueError, match="inconsistent"):
        CALMClassifier().fit(X, y, groups=recording[1:])
    assert tune(CALMClassifier(), {"top_heads": [2, 12]}, X, y, groups=recording).held_out_accuracy_ < 0.5


@pytest.mark.parametrize("none", ["", None])
def test_each_clip_without_a_group_is_its_own_group(none: str | None) -> None:
    X, y = sounds(40)
    alone = CALMClassifier().fit(X, y, groups=np.array([none] * 40, dtype=object))
    np.testing.assert_array_equal(alone.predict_proba(X), CALMClassifier().fit(X, y, groups=range(40)).predict_proba(X))
    assert CALMClassifier().fit(X, y, groups=np.array([none, "a"] * 20, dtype=object)).held_out_accuracy_ > 0.5


def test_the_probe_takes_groups_only_by_keyword() -> None:
    X, y = sounds(20)
    with pytest.raises(TypeError):
        LinearProbeClassifier().fit(X, y, np.ones(20))  # type: ignore[call-arg]


def test_weights_below_zero_or_all_zero_are_refused() -> None:
    X, y = sounds(20)
    with pytest.raises(ValueError, match="[Nn]egative"):
        CALMClassifier().fit(X, y, sample_weight=np.full(20, -1.0))
    with pytest.raises(ValueError, match="fit needs at least two classes|[Ss]ample weights must contain"):
        CALMClassifier().fit(X, y, sample_weight=np.zeros(20))


# --- tensors ---


def test_tensors_stay_tensors_and_answer_as_arrays_do(method: HeadClassifier) -> None:
    X, y = sounds()
    expected = clone(method).fit(X[:60], y[:60]).predict_proba(X[60:])
    T = torch.from_numpy(X)
    method.fit(T[:60], y[:60])
    p = method.predict_proba(T[60:])
    assert isinstance(p, torch.Tensor) and p.dtype == torch.float32
    learned = getattr(method, "prototypes_", getattr(method, "directions_", None))
    assert isinstance(learned, torch.Tensor)
    np.testing.assert_allclose(p.numpy(), expected, atol=2e-3)
    assert (method.predict(T[60:]) == method.predict(X[60:])).mean() > 0.98
    # A classifier that is fitted on tensors also takes arrays.
    np.testing.assert_allclose(method.predict_proba(X[60:]), expected, atol=2e-3)
    numbers = np.searchsorted(NAMES, y)
    predicted = clone(method).fit(T[:60], torch.from_numpy(numbers[:60])).predict(T[60:])
    assert isinstance(predicted, torch.Tensor)
    assert clone(method).fit(T[:60], numbers[:60]).score(T[60:], torch.from_numpy(numbers[60:])) > 0.4


def test_half_precision_tensors_and_layers_are_taken(tmp_path: Path) -> None:
    X, y = sounds(60)
    T = torch.from_numpy(X).half().reshape(60, 3, 4, 8)
    clf = CALMClassifier().fit(T, y)
    assert clf.predict_proba(T).dtype == torch.float32
    assert clf.head_names_[5] == "layer 1 · head 1"
    clf.save(tmp_path / "clf.safetensors")
    np.testing.assert_allclose(
        load(tmp_path / "clf.safetensors").predict_proba(T.float().numpy()), clf.predict_proba(T), atol=1e-3
    )
    grown = clf.partial_fit(T[:8], np.repeat("crow", 8))
    assert (grown.predict(T[:8]) == "crow").any() and "crow" in grown.classes_
    assert len(clf.explain(T[:2]).top_heads(1, 3)) == 3


@pytest.mark.parametrize("bad", [torch.full((4, 3, 2), float("nan")), torch.zeros((4, 0, 2)), torch.zeros(4)])
def test_bad_tensors_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="NaN|shape"):
        CALMClassifier().fit(bad, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        CALMClassifier().fit(torch.zeros((4, 3, 2)), [0, 1])


# --- few heads ---


def test_few_heads_make_a_small_file_that_needs_only_them(tmp_path: Path) -> None:
    X, y = sounds(80, heads=32, dim=16)
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        for clf in (CALMClassifier(top_heads=4), SAVClassifier(top_heads=4), CALMClassifier.published(top_heads=1)):
            clf.fit(cache[:40], y[:40])
            assert len(clf.used_heads_) <= 4
            assert clf.used_heads_.max() < 16  # the informative heads come first
            garbage = X.copy()
            garbage[:, np.setdiff1d(np.arange(32), clf.used_heads_)] = 7.0
            np.testing.assert_allclose(clf.predict_proba(garbage), clf.predict_proba(cache), atol=1e-6)
            clf.save(tmp_path / "few.safetensors")
            np.testing.assert_array_equal(load(tmp_path / "few.safetensors").predict_proba(X), clf.predict_proba(X))
            assert clf.used_layers_ is not None and set(clf.used_layers_) == set(clf.used_heads_ // 2)
        whole = CALMClassifier().fit(cache[:40], y[:40])
        whole.save(tmp_path / "all.safetensors")
    assert (tmp_path / "few.safetensors").stat().st_size < (tmp_path / "all.safetensors").stat().st_size / 4


# --- partial_fit ---


def test_growing_needs_the_same_heads_and_labels_of_the_same_kind() -> None:
    X, y = sounds(40)
    clf = CALMClassifier().partial_fit(X[:20], y[:20], classes=NAMES)
    with pytest.raises(ValueError, match="X has 12 heads of dimension 4"):
        clf.partial_fit(X[:, :, :4], y)
    with pytest.raises(ValueError, match="labels must have the same type as before"):
        clf.partial_fit(X[:4], [1, 2, 3, 4])


def test_growing_shot_by_shot_comes_close_to_a_fit_on_all_clips() -> None:
    X, y = sounds(400)
    grown = CALMClassifier().fit(X[:20], y[:20])
    for start in (20, 40, 60):
        grown.partial_fit(X[start : start + 20], y[start : start + 20])
    whole = CALMClassifier().fit(X[:80], y[:80])
    first = CALMClassifier().fit(X[:20], y[:20])
    query = slice(100, None)
    assert grown.class_count_.tolist() == [20] * 4
    assert grown.score(X[query], y[query]) > first.score(X[query], y[query])
    assert grown.score(X[query], y[query]) > whole.score(X[query], y[query]) - 0.06


def test_a_loaded_classifier_supports_partial_fit(tmp_path: Path) -> None:
    X, y = sounds(80)
    here = CALMClassifier().fit(X[:40], y[:40])
    here.save(tmp_path / "clf.safetensors")
    there = load(tmp_path / "clf.safetensors")
    assert isinstance(there, CALMClassifier)
    again = pickle.loads(pickle.dumps(here))
    for clf in (here, there, again):
        clf.partial_fit(X[40:], y[40:])
    np.testing.assert_allclose(there.predict_proba(X), here.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(again.predict_proba(X), here.predict_proba(X), atol=1e-6)


def test_a_cache_of_another_extraction_does_not_grow_a_classifier(tmp_path: Path) -> None:
    X, y = sounds(40)
    with cache_of(tmp_path / "a.h5", X, y) as mine, cache_of(tmp_path / "b.h5", X, y, prompt="Eh?") as other:
        clf = CALMClassifier().fit(mine[:20], y[:20])
        with pytest.raises(ValueError, match="differ in prompt"):
            clf.partial_fit(other[20:], y[20:])
        clf.partial_fit(mine[20:30], y[20:30])
        assert clf.support_names_ == [f"{i}.wav" for i in range(30)]


# --- explanations, rejection and held-out results ---


def test_an_explanation_names_the_informative_heads() -> None:
    X, y = sounds(80)
    why = CALMClassifier().fit(X[:40].reshape(40, 3, 4, 8), y[:40]).explain(X[40:60])
    assert why.contributions.shape == (20, 12, 4)
    n_informative = sum(name.startswith("layer 0") for i in range(20) for name, _, _ in why.top_heads(i, 4))
    assert n_informative > 60  # of 80: layer 0 has the informative heads
    uninformative = np.ptp(why.contributions, axis=2) == 0  # a head with weight zero favours no class
    assert uninformative.any() and [vote is None for vote in why.votes.ravel()] == uninformative.ravel().tolist()
    assert set(why.votes[~uninformative]) <= set(NAMES)


def test_clips_of_no_class_are_rejected_and_few_of_the_others() -> None:
    X, y = sounds(800)
    clf = CALMClassifier().fit(X[:80], y[:80])
    strange = np.random.default_rng(5).normal(size=(200, 12, 8)).astype(np.float32) * X.std(axis=0) + X.mean(axis=0)
    lost = clf.typicality(X[80:]) <= 0.1
    assert lost.mean() < 0.16
    assert (clf.typicality(strange) <= 0.1).mean() > 0.4
    labels = clf.predict(X[80:], reject=0.1)
    assert (labels == "none of these").tolist() == lost.tolist()
    assert labels[~lost].tolist() == clf.predict(X[80:])[~lost].tolist()
    with pytest.raises(ValueError, match="reject must be between 0 and 1"):
        clf.predict(X, reject=2)
    with pytest.raises(ValueError, match="typicality is not available"):
        CALMClassifier().fit(X[:4], y[:4]).predict(X, reject=0.1)


@pytest.mark.parametrize("combine", ["joint", "vote"])
def test_held_out_accuracy_predicts_the_accuracy_on_queries(combine: Any) -> None:
    held_out_accuracies, accuracies = [], []
    for seed in range(6):
        X, y = sounds(400, seed=seed)
        clf = CALMClassifier(combine=combine).fit(X[:60], y[:60])
        held_out_accuracies.append(clf.held_out_accuracy_)
        accuracies.append(clf.score(X[60:], y[60:]))
        p = clf.predict_proba(X[60:])
        own = p[np.arange(340), np.searchsorted(clf.classes_, y[60:])]
        assert -np.log(own).mean() < clf.held_out_log_loss_ + 0.35
    assert abs(np.mean(held_out_accuracies) - np.mean(accuracies)) < 0.1


def test_held_out_accuracy_is_near_chance_with_uninformative_heads() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(420, 400, 8)).astype(np.float32), np.arange(420) % 4
    clf = CALMClassifier().fit(X[:20], y[:20])
    assert clf.held_out_accuracy_ < 0.6  # chance is 0.25
    assert (clf.typicality(X[20:]) <= 0.1).mean() < 0.35
    assert clf.predict_proba(X[20:]).max(axis=1).mean() < 0.5


def test_predicting_at_once_from_many_threads_gives_the_library_its_threads_back() -> None:
    from concurrent.futures import ThreadPoolExecutor

    from threadpoolctl import threadpool_info

    X, y = sounds(200)
    clf = CALMClassifier().fit(X[:60], y[:60])
    before = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: clf.predict(X), range(40)))
    after = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    assert after == before
    assert all((answer == answers[0]).all() for answer in answers)


def test_a_classifier_grows_from_arrays_to_tensors_and_back() -> None:
    X, y = sounds(80)
    T = torch.from_numpy(X)
    for clf in (CALMClassifier(), SAVClassifier()):
        clf.fit(X[:40], y[:40]).partial_fit(T[40:60], y[40:60]).partial_fit(X[60:].astype(np.float64), y[60:])
        assert clf.class_count_.tolist() == [20] * 4
        assert clf.score(X, y) > 0.5


def test_a_score_needs_a_label_a_clip() -> None:
    X, y = sounds(40)
    clf = CALMClassifier().fit(X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clf.score(X, y[:1])
    assert clf.predict(torch.from_numpy(X[:0])).shape == (0,)


def test_tuning_returns_the_lowest_held_out_log_loss_and_does_not_change_its_argument() -> None:
    X, y = sounds(60)
    given = CALMClassifier()
    best = tune(given, {"top_heads": [1, 4, None], "weight_temperature": [0.5, 1e6]}, X, y)
    assert not hasattr(given, "classes_")
    for top in (1, 4, None):
        other = CALMClassifier(top_heads=top).fit(X, y)
        assert best.held_out_log_loss_ <= other.held_out_log_loss_
    again = tune(given, {"top_heads": [1, 4, None], "weight_temperature": [0.5, 1e6]}, X, y)
    np.testing.assert_array_equal(again.predict_proba(X), best.predict_proba(X))
    with pytest.raises(ValueError, match="none were held out"):
        tune(given, {"top_heads": [1]}, X[:4], y[:4])


def test_one_shot_is_not_whitened_and_counts_all_heads_the_same() -> None:
    X, y = sounds(104)
    clf = CALMClassifier().fit(X[:4], y[:4])
    assert np.isnan(clf.held_out_log_loss_)
    assert clf.score(X[4:], y[4:]) > 0.3
    assert clf.scatter_.max() == 0
