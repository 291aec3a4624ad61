"""The estimators are scikit-learn's in manner, stream what is large, and come back from disk as they were."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import calm.base
import calm.fit.vote
import calm.heads
import calm.held_out
import calm.joint_fit
from calm import (
    CALMClassifier,
    GlobalWeightClassifier,
    HeadCache,
    HeadExtractor,
    LinearProbeClassifier,
    NearestMeanClassifier,
    SAVClassifier,
    UniformVoteClassifier,
    draw_episode,
    find_clips,
    load,
    predict_audio,
)
from calm.base import HeadClassifier
from calm.episode import rows_apart
from calm.extract import LALM, CacheWriter, Clip, Fingerprint, Request, create_cache, extract_to_cache
from tests.conftest import tone

CLASSIFIERS = [
    CALMClassifier(),
    CALMClassifier.published(),
    SAVClassifier(),
    GlobalWeightClassifier(),
    UniformVoteClassifier(),
    NearestMeanClassifier(),
    LinearProbeClassifier(),
]


@parametrize_with_checks(CLASSIFIERS)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def task(n: int = 24, heads: int = 6, dim: int = 8, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Three classes that some heads hear."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(n) % 3
    X = rng.normal(size=(n, heads, dim))
    X[:, : heads // 2] += 3 * np.eye(dim)[numbers][:, None]
    return X.astype(np.float32), np.array(["dog", "rain", "rooster"])[numbers]


def a_grid(classifier: HeadClassifier) -> dict[str, Any]:
    """Return something to search over, with numbers of numpy's own kinds."""
    for name, values in (("top_heads", np.arange(1, 4)), ("temperature", np.array([0.05, 0.1])), ("C", [0.5, 2.0])):
        if name in classifier.get_params():
            return {name: values}
    return {"n_heads": [None]}


def cache_of(path: Path, X: NDArray[np.float32], y: NDArray[Any], prompt: str = "Hm?") -> HeadCache:
    """Store head vectors as a cache of layers of two heads."""
    clips = [Clip("", f"{i}.wav", label, group=str(i)) for i, label in enumerate(y)]
    layered = X.reshape(len(X), -1, 2, X.shape[2])
    fingerprint = Fingerprint("abc", "def", "float32", prompt, 1, 16000, 5.0)
    create_cache(
        path, clips, [prompt] * len(X), layered.shape[1:], Request("tiny"), fingerprint, storage="float32"
    )  # fmt: skip
    with CacheWriter(path) as writer:
        writer.write(np.arange(len(X)), layered, np.ones(len(X)), np.ones(len(X)))
    return HeadCache(path)


@pytest.fixture(params=CLASSIFIERS, ids=lambda clf: type(clf).__name__)
def classifier(request: pytest.FixtureRequest) -> HeadClassifier:
    return clone(request.param)


def test_every_shape_of_x_gives_the_same_answer(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    expected = classifier.fit(X, y).predict_proba(X)
    layered = X.reshape(24, 3, 2, 8)
    np.testing.assert_allclose(classifier.fit(layered, y).predict_proba(layered), expected, rtol=1e-6)
    flat = clone(classifier).set_params(n_heads=6)
    np.testing.assert_allclose(flat.fit(X.reshape(24, 48), y).predict_proba(X.reshape(24, 48)), expected, rtol=1e-6)
    lists = clone(classifier).fit(layered.tolist(), y.tolist())
    np.testing.assert_allclose(lists.predict_proba(layered.tolist()), expected, atol=1e-4)  # in double precision
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        np.testing.assert_allclose(classifier.fit(cache, y).predict_proba(cache), expected, rtol=1e-6)
        np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=1e-6)
        assert classifier.score(cache[3:9], y[3:9]) == classifier.score(X[3:9], y[3:9])


def test_the_size_of_blocks_does_not_matter(classifier: HeadClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = task()
    whole = classifier.fit(X, y).predict_proba(X)
    for name, size in (("_CACHED_NUMBERS", 5 * 8), ("_QUERY_CLIPS", 5)):
        monkeypatch.setattr(calm.heads, name, size)
    monkeypatch.setattr(calm.fit.vote, "_CACHED", 7 * 8)
    assert len(calm.heads.slabs(calm.heads.ArrayHeads(X), 24 * 8 * 2)) == 3
    monkeypatch.setattr(calm.base, "slabs", lambda heads, _: calm.heads.slabs(heads, 24 * 8 * 2))
    monkeypatch.setattr(calm.joint_fit, "_KERNEL_NUMBERS", 24 * 8 * 3)
    np.testing.assert_allclose(classifier.fit(X, y).predict_proba(X), whole, rtol=1e-4, atol=1e-6)


def test_many_clips_are_fitted_in_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = task(120)
    monkeypatch.setattr(calm.held_out, "MOST_CLIPS", 40)
    monkeypatch.setattr(calm.joint_fit, "MOST_CLIPS", 70)
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
        (np.zeros((4, 3, 2)), ["a"] * 4, "at least two classes are needed; all labels are one class, 'a'"),
        (np.zeros((4, 3, 2)), ["a", "b"], "inconsistent numbers of samples"),
        (np.full((4, 3, 2), np.nan), ["a", "b"] * 2, "NaN"),
        (np.zeros((2, 2, 2, 2, 2)), ["a", "b"], r"X has shape \(2, 2, 2, 2, 2\); expected \(clips, heads, dim\)"),
        (np.zeros((4, 3, 2)), [0.1, 0.2, 0.3, 0.4], "Unknown label type"),
    ],
)
def test_bad_support_sets_are_refused(classifier: HeadClassifier, X: NDArray, y: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier.fit(X, y)


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
    with pytest.raises(ValueError, match="7 features a clip, which do not split into n_heads=2"):
        classifier.set_params(n_heads=2).fit(np.ones((4, 7)), [0, 1, 0, 1])


def test_queries_of_another_size_are_refused(classifier: HeadClassifier) -> None:
    X, y = task()
    with pytest.raises(ValueError, match="X has 6 heads of 4 dimensions; this .* was fitted on 6 of 8"):
        classifier.fit(X, y).predict(X[:, :, :4])


def test_no_queries_give_no_answers(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        assert classifier.fit(cache, y).predict(cache[:0]).shape == (0,)


def test_clips_without_a_label_are_no_class(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    y[3] = ""
    with cache_of(tmp_path / "heads.h5", X, y) as cache, pytest.raises(ValueError, match="some .* have no label"):
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


def test_sav_settles_ties_by_similarity() -> None:
    # Two heads, one for each class; the second is surer.
    X = np.array([[[1.0, 0], [1, 0]], [[0, 1], [0, 1]]])
    clf = SAVClassifier(top_heads=2).fit(X, ["a", "b"])
    query = np.array([[[1.0, 0.9], [0.1, 1]]])
    assert clf.predict(query) == ["b"]
    np.testing.assert_allclose(clf.predict_proba(query), 0.5, atol=1e-3)


# --- episodes ---


def test_an_episode_keeps_groups_apart_and_leaves_out_what_cannot_be_used(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    clips = [Clip("", f"{i}", label if i else None, group=f"g{i // 4}") for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    with CacheWriter(path) as writer:
        rows = np.arange(23)  # the last one stays pending
        writer.write(rows, X[:23].reshape(23, 3, 2, 8), np.ones(23), np.ones(23))
    with HeadCache(path) as cache:
        episode = draw_episode(cache, shots=2, seed=1)
        assert np.unique(episode.support.labels, return_counts=True)[1].tolist() == [2, 2, 2]
        sides = [{cache.groups[row] for row in side.rows} for side in (episode.support, episode.query)]
        assert sides[0] and sides[1] and not sides[0] & sides[1]
        assert not {0, 23} & {*episode.support.rows, *episode.query.rows}


def test_an_episode_takes_support_from_train_and_queries_from_test(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    splits = ["Train", "test", "validation"]
    clips = [Clip("", f"{i}", label, split=splits[i // 3 % 3]) for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    with CacheWriter(path) as writer:
        writer.write(np.arange(24), X.reshape(24, 3, 2, 8), np.ones(24), np.ones(24))
    with HeadCache(path) as cache:
        for shots, support in ((2, 6), (None, 9)):
            episode = draw_episode(cache, shots)
            assert len(episode.support) == support
            assert set(cache.splits[episode.support.rows]) == {"Train"}
            assert set(cache.splits[episode.query.rows]) == {"test"}


def test_without_splits_or_shots_every_clip_is_support(tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        episode = draw_episode(cache)
        assert (len(episode.support), len(episode.query)) == (24, 0)


def test_a_cache_without_labels_gives_no_episode(tmp_path: Path) -> None:
    X, _ = task()
    with (
        cache_of(tmp_path / "heads.h5", X, np.array([""] * 24)) as cache,
        pytest.raises(ValueError, match="no clip in"),
    ):
        draw_episode(cache, 1)


def test_evaluation_keeps_to_the_test_split_and_apart_from_the_support(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    splits = ["train", "test", "validation"]
    clips = [Clip("", f"{i}", label, split=splits[i // 3 % 3], group=f"g{i % 12}") for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    with CacheWriter(path) as writer:
        writer.write(np.arange(24), X.reshape(24, 3, 2, 8), np.ones(24), np.ones(24))
    with HeadCache(path) as cache:
        episode = draw_episode(cache, 1)
        clf = CALMClassifier().fit(episode.support, episode.support.labels)
        assert rows_apart(cache, clf.support_names_, clf.support_groups_).rows.tolist() == episode.query.rows.tolist()
        assert set(cache.splits[episode.query.rows]) == {"test"}
        # In a cache of its own, a group of the support set is known by its name.
        assert not set(rows_apart(cache, [], ["g4"]).groups) & {"g4"}
        with pytest.raises(ValueError, match="is left to evaluate on: each one, or its group, is in the support set"):
            rows_apart(cache, [], [f"g{i}" for i in range(12)])


def test_splits_of_unknown_names_are_refused(tmp_path: Path) -> None:
    X, y = task()
    path = tmp_path / "heads.h5"
    clips = [Clip("", f"{i}", label, split=("tr", "te")[i % 2]) for i, label in enumerate(y)]
    create_cache(path, clips, ["Hm?"] * 24, (3, 2, 8), Request("tiny"), Fingerprint("a", "b", "c", "d", 1, 1, 1.0))
    with CacheWriter(path) as writer:
        writer.write(np.arange(24), X.reshape(24, 3, 2, 8), np.ones(24), np.ones(24))
    with HeadCache(path) as cache, pytest.raises(ValueError, match="has the splits te, tr: call them train and test"):
        draw_episode(cache, 1)


def test_a_cache_of_test_clips_only_gives_no_support(tmp_path: Path) -> None:
    path = tmp_path / "heads.h5"
    fingerprint = Fingerprint("a", "b", "c", "d", 1, 1, 1.0)
    create_cache(path, [Clip("", "1", "dog", "test")], ["Hm?"], (1, 1, 1), Request("t"), fingerprint)
    with CacheWriter(path) as writer:
        writer.write(np.arange(1), np.ones((1, 1, 1, 1), np.float32), np.ones(1), np.ones(1))
    with HeadCache(path) as cache:
        with pytest.raises(ValueError, match="is in a test split: none may be support"):
            draw_episode(cache, 1)
        assert len(rows_apart(cache, [], [])) == 1


# --- on disk ---


def test_what_a_grid_search_and_a_data_frame_leave_behind_can_be_saved(
    classifier: HeadClassifier, tmp_path: Path
) -> None:
    X, y = task(30)
    search = GridSearchCV(classifier, a_grid(classifier), cv=3).fit(X, y)
    search.best_estimator_.save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").get_params() == search.best_estimator_.get_params()
    frame = pd.DataFrame(X[:, 0], columns=[f"f{i}" for i in range(8)])
    clone(classifier).fit(frame, y).save(tmp_path / "b.safetensors")
    again = load(tmp_path / "b.safetensors")
    assert again.feature_names_in_.tolist() == [f"f{i}" for i in range(8)]
    again.predict(frame)


def test_labels_that_json_cannot_hold_are_refused(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, _ = task()
    y = np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]")[np.arange(24) % 2]
    classifier.fit(X, y)
    with pytest.raises(TypeError, match="labels of type datetime64.* cannot be saved"):
        classifier.save(tmp_path / "a.safetensors")


def test_a_classifier_comes_back_with_all_that_it_knows(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y) as cache:
        classifier.fit(cache[:12], y[:12])
        classifier.save(tmp_path / "clf.safetensors")
        again = load(tmp_path / "clf.safetensors")
        assert type(again) is type(classifier)
        assert again.get_params() == classifier.get_params()
        learned = {name for name in vars(classifier) if name.endswith("_")}
        assert {name for name in vars(again) if name.endswith("_")} == learned
        assert again.extraction_ == classifier.extraction_
        assert again.support_names_ == [f"{i}.wav" for i in range(12)]
        np.testing.assert_array_equal(again.predict_proba(cache), classifier.predict_proba(cache))


def test_a_cache_of_another_extraction_is_refused(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "a.h5", X, y) as mine, cache_of(tmp_path / "b.h5", X, y, prompt="Eh?") as other:
        classifier.fit(mine, y)
        with pytest.raises(ValueError, match=r"differ in prompt \('Hm\?' in this classifier, 'Eh\?' in .*b\.h5"):
            classifier.predict(other)


def test_a_cache_that_was_asked_something_else_is_refused(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    caches = {}
    for question in ("A?", "B?"):
        path = tmp_path / f"{question[0]}.h5"
        clips = [Clip("", f"{i}", label) for i, label in enumerate(y)]
        fingerprint = Fingerprint("abc", "def", "float32", "Hm?", 1, 16000, 5.0)  # the questions are the clips' own
        create_cache(path, clips, [question] * 24, (3, 2, 8), Request("tiny"), fingerprint)
        with CacheWriter(path) as writer:
            writer.write(np.arange(24), X.reshape(24, 3, 2, 8), np.ones(24), np.ones(24))
        caches[question] = HeadCache(path)
    classifier.fit(caches["A?"], y)
    with pytest.raises(ValueError, match=r"clips were asked 'A\?' in this classifier, 'B\?' in .*B\.h5"):
        classifier.predict(caches["B?"])


def test_files_that_are_no_classifier_are_refused(tmp_path: Path) -> None:
    X, y = task()
    whole, part, bare = (tmp_path / f"{name}.safetensors" for name in ("whole", "part", "bare"))
    CALMClassifier().fit(X, y).save(whole)
    for size in (4, 100, whole.stat().st_size - 1):
        part.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(ValueError, match="is not a safetensors file, or is truncated"):
            load(part)
    safetensors.numpy.save_file({"a": X}, bare)
    with pytest.raises(ValueError, match="is a safetensors file, but not a classifier saved by calm"):
        load(bare)
    safetensors.numpy.save_file({"a": X}, bare, metadata={"calm": "{}"})
    with pytest.raises(ValueError, match="has a damaged header"):
        load(bare)
    safetensors.numpy.save_file({"a": X}, bare, metadata={"calm": json.dumps({"format_version": 1})})
    with pytest.raises(ValueError, match="is damaged, or of another version of calm"):
        load(bare)
    safetensors.numpy.save_file({"a": X}, bare, metadata={"calm": json.dumps({"format_version": 9})})
    with pytest.raises(ValueError, match="format version 9.*update calm"):
        load(bare)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path)


def test_saving_replaces_classifiers_and_nothing_else(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    cache_of(tmp_path / "heads.h5", X, y).close()
    before = (tmp_path / "heads.h5").read_bytes()
    classifier.fit(X, y)
    with pytest.raises(FileExistsError, match="is there already and is no fitted classifier"):
        classifier.save(tmp_path / "heads.h5")
    assert (tmp_path / "heads.h5").read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="is there already and is no fitted classifier"):
        classifier.save(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("clf.safetensors")
    for _ in range(2):
        classifier.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    load(tmp_path / "clf.safetensors")


def test_saving_writes_the_whole_file_or_none(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    classifier.fit(X, y)
    with pytest.raises(FileNotFoundError, match="no such folder to write"):
        classifier.save(tmp_path / "nowhere/clf.safetensors")
    with pytest.raises(IsADirectoryError):
        classifier.save(tmp_path)
    classifier.save(tmp_path / "clf.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["clf.safetensors"]


# --- from audio ---

PITCHES = {"low": 750, "high": 3000}


def tones(n: int, seed: int = 0) -> tuple[list[NDArray[np.float32]], list[str]]:
    labels = [("low", "high")[i % 2] for i in range(n)]
    return [tone(PITCHES[label] * (1 + 0.01 * i), seed=seed + i) for i, label in enumerate(labels)], labels


def test_a_pipeline_goes_from_waveforms_and_files_to_labels(class_folder: Any) -> None:
    support, labels = tones(6)
    pipe = make_pipeline(HeadExtractor("tiny", device="cpu"), CALMClassifier()).fit(support, labels)
    queries, expected = tones(4, seed=50)
    assert pipe.score(queries, expected) == 1.0
    data = class_folder(2)
    assert pipe.predict(sorted(data.glob("*/*.wav"))).tolist() == ["high", "high", "low", "low"]


def test_a_pipeline_clones_and_pickles_without_the_model(class_folder: Any) -> None:
    support, labels = tones(8)
    pipe = make_pipeline(HeadExtractor("tiny", device="cpu", tokens=2), CALMClassifier())
    assert clone(pipe).get_params()["headextractor__tokens"] == 2
    assert len(pickle.dumps(pipe.fit(support, labels))) < 300_000  # the model has 18 MB
    assert cross_val_score(pipe, support, labels, cv=2).tolist() == [1.0, 1.0]


def test_the_extractor_answers_for_every_clip_or_for_none() -> None:
    assert HeadExtractor("tiny", device="cpu").transform([]).shape == (0, 36, 32)
    with pytest.raises(ValueError, match=r"must be a sequence of clips; for one clip, give \['a\.wav'\]"):
        HeadExtractor("tiny", device="cpu").transform("a.wav")
    with pytest.raises(ValueError, match=r"2 of 3 clips failed; nowhere\.wav: no such file"):
        HeadExtractor("tiny", device="cpu").transform([tone(300), "nowhere.wav", np.zeros(0)])


def test_audio_is_predicted_as_its_cached_vectors_are(class_folder: Any, tmp_path: Path, tiny: LALM) -> None:
    clips = find_clips(class_folder(5))
    extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny", tokens=3), lalm=tiny, storage="float32")
    with HeadCache(tmp_path / "heads.h5") as cache:
        clf = CALMClassifier().fit(cache, cache.labels)
        expected = clf.predict_proba(cache)
    prediction = predict_audio(clf, [*clips, Clip("nowhere.wav", "nowhere.wav")], lalm=tiny)
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-4)
    assert prediction.labels.tolist() == ["high"] * 5 + ["low"] * 5
    assert prediction.failures == {"nowhere.wav": "no such file: nowhere.wav"}


def test_audio_is_not_predicted_with_another_model(class_folder: Any, tmp_path: Path, tiny: LALM) -> None:
    from calm.extract.tiny import build_tiny

    clips = find_clips(class_folder(2))
    extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny)
    with HeadCache(tmp_path / "heads.h5") as cache:
        clf = CALMClassifier().fit(cache, cache.labels)
    model, processor = build_tiny()
    other = LALM("other", model.bfloat16(), processor)
    with pytest.raises(
        ValueError, match="differ in .*dtype \\('float32' in this classifier, 'bfloat16' in model 'other'"
    ):
        predict_audio(clf, clips, lalm=other)
    bare = CALMClassifier().fit(*task())
    with pytest.raises(ValueError, match="fitted on arrays"):
        predict_audio(bare, clips, lalm=tiny)


def test_clips_are_asked_what_the_support_was_asked(tmp_path: Path, tiny: LALM) -> None:
    waves, labels = tones(4)
    plain = find_clips(waves, labels)
    asked = [
        Clip(c.audio, c.name, c.label, question=question) for c, question in zip(plain, ["A?", "B?"] * 2, strict=True)
    ]
    one = [Clip(c.audio, c.name, c.label, question="A?") for c in plain]
    fitted = {}
    for name, clips in (("asked", asked), ("one", one)):
        extract_to_cache(clips, tmp_path / f"{name}.h5", Request("tiny"), lalm=tiny, storage="float32")
        with HeadCache(tmp_path / f"{name}.h5") as cache:
            fitted[name] = CALMClassifier().fit(cache, cache.labels)
            if name == "one":
                expected = fitted[name].predict_proba(cache)
    np.testing.assert_allclose(predict_audio(fitted["one"], plain, lalm=tiny).probabilities, expected, atol=1e-4)
    with pytest.raises(ValueError, match="were asked different questions, and clip 0 .* has none"):
        predict_audio(fitted["asked"], plain, lalm=tiny)
    assert len(predict_audio(fitted["asked"], asked, lalm=tiny).labels) == 4


def test_a_sparse_classifier_runs_the_model_no_further_than_it_needs(
    class_folder: Any, tmp_path: Path, tiny: LALM
) -> None:
    clips = find_clips(class_folder(5))
    extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny, storage="float32")
    with HeadCache(tmp_path / "heads.h5") as cache:
        X = np.asarray(cache[:])
        X[:, 12:] = np.random.default_rng(0).normal(size=X[:, 12:].shape)  # only the first two layers hear
        clf = CALMClassifier(top_heads=3).fit(X.reshape(10, 6, 6, 32), cache.labels)
        clf.extraction_ = cache[:].extraction
        expected = clf.predict_proba(X)
    assert clf.used_layers_ is not None and clf.used_layers_.max() < 2
    ran: list[int] = []
    hooks = [p.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, p in enumerate(tiny.heads.projections)]
    prediction = predict_audio(clf, clips, lalm=tiny)
    for hook in hooks:
        hook.remove()
    assert max(ran, default=-1) < clf.used_layers_.max()
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-4)
