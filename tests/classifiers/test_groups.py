"""Groups are held out together in every fit, including those of a head cache; too few groups give one warning."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from typer.testing import CliRunner

from calm import CALMClassifier, HeadCache, SAVClassifier, compare, load, tune
from calm.classifiers.base import HeadClassifier
from calm.cli import app
from calm.extract import Clip, Extraction, Fingerprint, Request, create_cache
from tests.tasks import cache_of, task, write_all

FEW = "too few groups"


def speakers(clips: int = 6, people: int = 12, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[Any], list[str]]:
    """Make clips of speakers in two classes; clips of a speaker are nearly equal and differ little between classes."""
    rng, who = np.random.default_rng(seed), np.repeat(np.arange(people), clips)
    voices = rng.normal(size=(people, 6, 8))
    X = voices[who] + 0.35 * np.eye(8)[who % 2][:, None] + 0.02 * rng.normal(size=(len(who), 6, 8))
    return X.astype(np.float32), np.array(["calm", "cross"])[who % 2], [f"speaker {i}" for i in who]


def grouped_cache(path: Path, X: NDArray[np.float32], y: NDArray[Any], groups: list[str]) -> HeadCache:
    clips = [Clip("", f"{i}.wav", label, group=group) for i, (label, group) in enumerate(zip(y, groups, strict=True))]
    fingerprint = Fingerprint("abc", "def", "float32", "Hm?", 1, 16000, 5.0)
    create_cache(path, clips, ["Hm?"] * len(X), (3, 2, 8), Request("tiny"), fingerprint, storage="float32")
    write_all(path, X.reshape(-1, 3, 2, 8))
    return HeadCache(path)


def test_every_method_takes_groups_by_name(classifier: HeadClassifier) -> None:
    X, y, groups = speakers()
    by_hand = clone(classifier).fit(X, y, groups=groups).predict_proba(X)
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(FunctionTransformer(), clone(classifier).set_fit_request(groups=True))
        np.testing.assert_allclose(routed.fit(X, y, groups=groups).predict_proba(X), by_hand, atol=1e-5)
    with pytest.raises(ValueError, match="inconsistent"):
        classifier.fit(X, y, groups=groups[1:])


def test_groups_of_a_cache_are_held_out_together_unless_others_are_given(
    classifier: HeadClassifier, tmp_path: Path
) -> None:
    X, y, groups = speakers()
    with grouped_cache(tmp_path / "heads.h5", X, y, groups) as cache:
        for rows in (cache, cache[:]):
            told = clone(classifier).fit(rows, y)
            given = clone(classifier).fit(X, y, groups=groups)
            np.testing.assert_allclose(told.predict_proba(X), given.predict_proba(X), rtol=1e-6)
        other = clone(classifier).fit(cache, y, groups=np.arange(len(y)))
        np.testing.assert_allclose(other.predict_proba(X), clone(classifier).fit(X, y).predict_proba(X), rtol=1e-6)
        grown = CALMClassifier().partial_fit(cache, y)
        assert grown.held_out_accuracy_ == CALMClassifier().fit(X, y, groups=groups).held_out_accuracy_


def test_a_cache_without_groups_is_held_out_clip_by_clip(tmp_path: Path) -> None:
    X, y = task(30)
    with grouped_cache(tmp_path / "heads.h5", X, y, [""] * 30) as cache, warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(
            CALMClassifier().fit(cache, y).predict_proba(X), CALMClassifier().fit(X, y).predict_proba(X)
        )


def test_fit_on_the_command_line_holds_out_the_groups_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    X, y, groups = speakers(people=24)
    grouped_cache(tmp_path / "heads.h5", X, y, groups).close()
    run = CliRunner().invoke(app, ["fit", "--shots", "30", "--seed", "1"])
    assert run.exit_code == 0 and run.stderr == ""
    clf = load("calm.safetensors")
    assert isinstance(clf, CALMClassifier) and clf.support_names_ is not None
    support = np.array([int(name.removesuffix(".wav")) for name in clf.support_names_])
    query = ~np.isin(groups, np.array(groups)[support])
    queries = clf.score(X[query], y[query])
    # Without groups, the held-out accuracy is too optimistic.
    assert CALMClassifier().fit(X[support], y[support]).held_out_accuracy_ > queries + 0.15
    assert clf.held_out_accuracy_ < queries + 0.1
    assert np.mean(clf.predict(X[query], reject=0.05) == "none of these") < 0.3


@pytest.mark.parametrize("name", ["calm", "linear-probe"])
def test_too_few_groups_give_a_warning_and_clips_are_held_out_individually(name: str) -> None:
    from calm import make_method

    X, y = task(30)
    with pytest.warns(UserWarning, match=FEW) as told:
        clf = make_method(name).fit(X, y, groups=np.zeros(30))
    assert [str(w.message).count("\n") for w in told] == [0]
    np.testing.assert_array_equal(clf.predict_proba(X), make_method(name).fit(X, y).predict_proba(X))


def test_no_warning_where_no_clip_could_be_held_out_anyway() -> None:
    X, y = task(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(CALMClassifier().fit(X, y, groups=["a"] * 3).held_out_accuracy_)
        SAVClassifier().fit(*task(30), groups=["a"] * 30)  # SAV holds no clips out


def test_too_few_groups_give_one_warning_and_not_one_a_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = task(60)
    with grouped_cache(tmp_path / "heads.h5", X, y, [f"room {i // 30}" for i in range(60)]) as cache:
        with pytest.warns(UserWarning, match=FEW) as told:
            compare(cache, (3,), support_sets=3)
        assert len(told) == 1
        with pytest.warns(UserWarning, match=FEW) as told:
            tune(CALMClassifier(), {"top_heads": [1, 2, None]}, cache[:30], y[:30])
        assert len(told) == 1
    run = CliRunner().invoke(app, ["fit", "--shots", "5"])
    assert run.exit_code == 0
    assert run.stderr.count("\n") == 1 and run.stderr.startswith("warning: the support set has too few groups")


# --- arrays with an extraction ---


class Extracted(np.ndarray):
    """Array of head vectors with an attribute ``extraction``."""

    extraction: Extraction | None = None

    def __array_finalize__(self, of: Any) -> None:
        self.extraction = getattr(of, "extraction", None)


def extracted(X: NDArray[np.float32], prompt: str) -> Extracted:
    array = X.reshape(-1, 3, 2, 8).view(Extracted)
    fingerprint = Fingerprint("abc", "def", "float32", prompt, 1, 16000, 5.0)
    array.extraction = Extraction(Request("tiny", dtype="float32"), fingerprint, prompt)
    return array


def test_the_extraction_of_an_array_is_checked_like_that_of_a_cache(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    mine, other = extracted(X, "Hm?"), extracted(X, "Eh?")
    classifier.fit(mine[:12], y[:12])
    assert classifier.extraction_ == mine.extraction and classifier.layers_ == 3
    expected = clone(classifier).fit(X[:12], y[:12]).predict_proba(X)
    np.testing.assert_allclose(classifier.predict_proba(mine), expected, rtol=1e-6)
    classifier.predict(X)  # plain arrays have no extraction to compare
    classifier.predict(torch.from_numpy(X))
    with pytest.raises(ValueError, match=r"differ in prompt \('Hm\?' in this classifier, 'Eh\?' in X\)"):
        classifier.predict(other)
    with cache_of(tmp_path / "a.h5", X, y, prompt="Eh?") as cache, pytest.raises(ValueError, match="differ in prompt"):
        classifier.predict(cache)
    if hasattr(classifier, "partial_fit"):
        with pytest.raises(ValueError, match="differ in prompt"):
            classifier.partial_fit(other, y)
        classifier.partial_fit(mine, y)
    assert classifier.fit(X, y).extraction_ is None
