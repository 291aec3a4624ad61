"""A saved classifier loads unchanged, and other files are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from calm import (
    CALMClassifier,
    HeadCache,
    load,
)
from calm.classifiers.base import HeadClassifier
from calm.classifiers.file import check_writable
from calm.extract import Clip, Fingerprint, Request, create_cache
from tests.tasks import a_grid, cache_of, task, write_all


@pytest.mark.filterwarnings("ignore:X has shape:UserWarning")
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


def test_a_loaded_classifier_has_all_learned_attributes(classifier: HeadClassifier, tmp_path: Path) -> None:
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


def test_a_cache_with_another_question_is_refused(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    caches = {}
    for question in ("A?", "B?"):
        path = tmp_path / f"{question[0]}.h5"
        clips = [Clip("", f"{i}", label) for i, label in enumerate(y)]
        fingerprint = Fingerprint("abc", "def", "float32", "Hm?", 1, 16000, 5.0)  # the same for both questions
        create_cache(path, clips, [question] * 24, (3, 2, 8), Request("tiny"), fingerprint)
        write_all(path, X.reshape(24, 3, 2, 8))
        caches[question] = HeadCache(path)
    classifier.fit(caches["A?"], y)
    with pytest.raises(ValueError, match=r"they differ in text \('A\?' in this classifier, 'B\?' in .*B\.h5"):
        classifier.predict(caches["B?"])


def test_files_that_are_no_classifier_are_refused(tmp_path: Path) -> None:
    X, y = task()
    whole, part, bare = (tmp_path / f"{name}.safetensors" for name in ("whole", "part", "bare"))
    CALMClassifier().fit(X, y).save(whole)
    for size in (4, 100, whole.stat().st_size - 1):
        part.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(ValueError, match="not a saved classifier: not a safetensors file, or truncated"):
            load(part)
    safetensors.numpy.save_file({"a": X}, bare)
    with pytest.raises(ValueError, match="not a saved classifier: a safetensors file without a classifier"):
        load(bare)
    for version, message in ((1, "1, but .* reads 2 and 3: fit and save the classifier again"), (9, "9.*update calm")):
        header = {"format": "calm classifier", "format_version": version}
        safetensors.numpy.save_file({"a": X}, bare, metadata={"calm": json.dumps(header)})
        with pytest.raises(ValueError, match=f"has format version {message}"):
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
    with pytest.raises(FileExistsError, match="exists and is not a saved classifier"):
        classifier.save(tmp_path / "heads.h5")
    assert (tmp_path / "heads.h5").read_bytes() == before
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="exists and is not a saved classifier"):
        classifier.save(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("clf.safetensors")
    for _ in range(2):
        classifier.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    load(tmp_path / "clf.safetensors")


def test_saving_writes_the_whole_file_or_none(classifier: HeadClassifier, tmp_path: Path) -> None:
    X, y = task()
    classifier.fit(X, y)
    with pytest.raises(FileNotFoundError, match="cannot write .*: folder .* does not exist"):
        classifier.save(tmp_path / "nowhere/clf.safetensors")
    with pytest.raises(IsADirectoryError):
        classifier.save(tmp_path)
    classifier.save(tmp_path / "clf.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["clf.safetensors"]


def test_a_link_to_itself_is_refused_in_one_line(tmp_path: Path) -> None:
    (loop := tmp_path / "loop").symlink_to(loop)
    (one := tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(one)
    for path in (loop, one):
        for write in (check_writable, CALMClassifier().fit(*task()).save):
            with pytest.raises(OSError, match=f"{path.name} is a symbolic link in a loop: give the name of a file"):
                write(path)
