"""From audio to labels, with pipelines and with fitted classifiers that load their model."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from calm import (
    CALMClassifier,
    HeadCache,
    HeadExtractor,
    find_clips,
    predict_audio,
)
from calm.extract import LALM, Clip, Request, extract_to_cache
from tests.conftest import another_tiny, tone
from tests.tasks import task

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
    assert HeadExtractor("tiny", device="cpu").transform([]).shape == (0, 6, 8, 32)
    with pytest.raises(ValueError, match=r"must be a sequence of clips; for a single clip, pass \['a\.wav'\]"):
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
    twice = predict_audio(clf, [Clip("nowhere.wav", "nowhere.wav")] * 2, lalm=tiny)
    assert len(twice.failures) == 2


def test_audio_is_not_predicted_with_another_model(class_folder: Any, tmp_path: Path, tiny: LALM) -> None:
    clips = find_clips(class_folder(2))
    extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny)
    with HeadCache(tmp_path / "heads.h5") as cache:
        clf = CALMClassifier().fit(cache, cache.labels)
    model, processor = another_tiny()
    other = LALM("other", model.bfloat16(), processor)
    with pytest.raises(
        ValueError, match="differ in .*dtype \\('float32' in this classifier, 'bfloat16' in model 'other'"
    ):
        predict_audio(clf, clips, lalm=other)
    bare = CALMClassifier().fit(*task())
    with pytest.raises(ValueError, match="fitted on plain arrays"):
        predict_audio(bare, clips, lalm=tiny)


def test_clips_get_the_question_of_the_support_clips(tmp_path: Path, tiny: LALM) -> None:
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
    with pytest.raises(ValueError, match="have different questions, and clip 0 .* has none"):
        predict_audio(fitted["asked"], plain, lalm=tiny)
    assert len(predict_audio(fitted["asked"], asked, lalm=tiny).labels) == 4


def test_a_sparse_classifier_ends_the_forward_pass_early(class_folder: Any, tmp_path: Path, tiny: LALM) -> None:
    clips = find_clips(class_folder(5))
    extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=tiny, storage="float32")
    with HeadCache(tmp_path / "heads.h5") as cache:
        X = cache[:].read()
        X[:, 12:] = np.random.default_rng(0).normal(size=X[:, 12:].shape)  # only two layers are useful
        clf = CALMClassifier(top_heads=3).fit(X.reshape(10, 6, 8, 32), cache.labels)
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


def test_a_classifier_of_other_layers_than_the_models_is_refused(class_folder: Any, tiny: LALM) -> None:
    clips = find_clips(class_folder(3))
    X = HeadExtractor("tiny", device="cpu").transform([clip.audio for clip in clips])
    classifier = CALMClassifier().fit(X, [str(clip.label) for clip in clips])
    classifier.layers_ = 1
    with pytest.raises(ValueError, match="is damaged: it was fitted on 1 layers"):
        predict_audio(classifier, clips, lalm=tiny)
