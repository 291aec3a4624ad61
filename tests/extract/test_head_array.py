"""Head vectors in memory keep the record of their extraction as long as they are whole clips."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from calm import CALMClassifier, HeadExtractor, load, predict_audio
from calm.extract import HeadArray, find_clips
from tests.conftest import tone

CLIPS = [tone(pitch, seed=seed) for seed, pitch in enumerate((200, 210, 220, 2000, 2100, 2200))]
LABELS = ["low"] * 3 + ["high"] * 3


@pytest.fixture(scope="module")
def X() -> HeadArray:
    return HeadExtractor("tiny", device="cpu").transform(CLIPS)


def test_selected_rows_keep_the_extraction(X: HeadArray) -> None:
    assert X.shape == (6, 6, 8, 32) and X.extraction is not None
    for rows in (X[1:3], X[np.array([0, 4])], X[np.arange(6) % 2 == 0], pickle.loads(pickle.dumps(X))):
        assert rows.extraction == X.extraction


@pytest.mark.parametrize(
    "computed",
    [lambda X: X * 2, lambda X: X.mean(axis=0), lambda X: X[:, 1], lambda X: X[..., 0], lambda X: np.exp(X)],
)
def test_results_of_computations_have_no_extraction(X: HeadArray, computed: Any) -> None:
    assert type(computed(X)) is np.ndarray
    assert getattr(X.reshape(6, 48, 32), "extraction", None) is None
    assert isinstance(X[0, 0, 0, 0], np.float32) and isinstance(X.max(), np.float32)


def test_a_pipeline_keeps_layers_and_how_its_vectors_were_made(X: HeadArray, tmp_path: Any) -> None:
    pipe = make_pipeline(HeadExtractor("tiny", device="cpu"), CALMClassifier()).fit(CLIPS, LABELS)
    classifier = pipe[-1]
    assert classifier.head_names_[37] == "layer 4 · head 5"
    classifier.save(tmp_path / "calm.safetensors")
    for clf in (classifier, load(tmp_path / "calm.safetensors")):
        assert predict_audio(clf, find_clips(CLIPS)).labels.tolist() == LABELS
        assert clf.predict(X).tolist() == LABELS
    other = HeadArray(X, X.extraction and type(X.extraction)(X.extraction.request, X.extraction.fingerprint, "Who?"))
    with pytest.raises(ValueError, match="they differ in text"):
        classifier.predict(other)


def test_a_grid_search_over_a_pipeline_changes_the_question() -> None:
    pipe = make_pipeline(HeadExtractor("tiny", device="cpu"), CALMClassifier(calibrate=False, strength=1.0))
    grid = {"headextractor__question": ["What is it?", "How high is it?"]}
    search = GridSearchCV(pipe, grid, cv=3).fit(CLIPS, LABELS)
    assert search.best_score_ == 1.0


def test_another_layout_is_no_longer_theirs(X: HeadArray) -> None:
    for other in (X[:, ::-1], X[..., ::-1], X[:, [1, 0]], X[0], X[:, 0]):
        assert getattr(other, "extraction", None) is None
    for same in (copy.copy(X), copy.deepcopy(X), X[::-1], X[[0, 0]]):
        assert same.extraction == X.extraction


def test_threads_that_want_the_first_vectors_load_one_model() -> None:
    code = (
        "import numpy as np; from concurrent.futures import ThreadPoolExecutor; from calm import HeadExtractor; "
        "work = lambda i: HeadExtractor('tiny', device='cpu').transform([np.full(8000, 0.1 * i)]).sum(); "
        "pool = ThreadPoolExecutor(4); found = list(pool.map(work, range(4))); "
        "assert np.allclose(found, [work(i) for i in range(4)], rtol=1e-3); print('same')"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.stdout == "same\n", process.stderr[-500:]


def test_reordered_arrays_have_no_extraction_and_writing_is_refused(X: HeadArray) -> None:
    for changed in (np.sort(X), np.flip(X, 1), np.partition(X, 3), X.copy()):
        assert getattr(changed, "extraction", None) is None
    with pytest.raises(ValueError, match="read-only"):
        X[:1][:] = 0
    with pytest.raises(ValueError, match="read-only"):
        np.multiply(X, 2, out=X)
