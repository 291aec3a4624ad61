"""Rejected clips get a label of the type of the classes, which metrics can count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, classification_report, confusion_matrix

from calm import CALMClassifier, evaluate
from calm.classifiers.rejection import choose_reject_label, put_reject_label


def two_classes(labels: Any) -> tuple[Any, Any]:
    """Return 40 clips of two classes, each separated by the last of three heads."""
    X = np.random.default_rng(0).normal(size=(40, 3, 8)).astype(np.float32)
    X[:20, 2, 0] += 9
    X[20:, 2, 1] += 9
    return X, np.repeat(labels, 20)


def strange_clip() -> Any:
    clip = np.random.default_rng(1).normal(size=(1, 3, 8)).astype(np.float32)
    clip[:, :, 7] -= 99
    return clip


@pytest.mark.parametrize(
    ("labels", "marker"),
    [
        (np.array(["dog", "rain"]), "none of these"),
        (np.array(["dog", "rain"], dtype=object), "none of these"),
        (np.array([0, 1]), -1),
        (np.array([3, 7], dtype=np.uint8), -1),
        (np.array([1.0, 2.0]), -1.0),
    ],
)
def test_metrics_count_rejected_clips_as_errors(labels: Any, marker: Any) -> None:
    X, y = two_classes(labels)
    predicted = CALMClassifier().fit(X, y).predict(np.concatenate([X, strange_clip()]), reject=0.03)
    truth = np.append(y, y[:1])
    assert predicted[-1] == marker and predicted[:-1].tolist() == y.tolist()
    assert type(predicted[-1].item() if labels.dtype != object else predicted[-1]) is type(marker)
    assert accuracy_score(truth, predicted) == pytest.approx(40 / 41)
    assert "accuracy" in classification_report(truth, predicted, zero_division=0)
    assert confusion_matrix(truth, predicted).sum() == 41
    result = evaluate(truth, predicted)
    assert (result.clips, result.correct, result.rejected, result.accepted_accuracy) == (41, 40, 1, 1.0)
    assert [one.label for one in result.classes] == [str(label) for label in labels]  # the reject label is no class
    assert all(one.taken_for is None for one in result.classes)


def test_the_reject_label_can_be_chosen_and_keeps_its_dtype_if_nothing_is_rejected() -> None:
    X, y = two_classes(["dog", "rain"])
    clf = CALMClassifier().fit(X, y)
    assert clf.predict(strange_clip(), reject=0.05, reject_label="?").tolist() == ["?"]
    assert clf.predict(X, reject=0.0).dtype == clf.predict(strange_clip(), reject=0.05).dtype
    assert clf.predict(X).dtype == clf.classes_.dtype
    assert evaluate(["dog"], ["?"], reject_label="?").rejected == 1


def test_numeric_labels_of_a_tensor_are_rejected_in_a_tensor() -> None:
    X, y = two_classes([0, 1])
    clf = CALMClassifier().fit(torch.as_tensor(X), y)
    predicted = clf.predict(torch.as_tensor(np.concatenate([X[:1], strange_clip()])), reject=0.05)
    assert isinstance(predicted, torch.Tensor) and predicted.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("classes", "reject_label", "message"),
    [
        (["dog", "none of these"], None, "'none of these' is a class, .* pass another reject_label"),
        ([-1, 1], None, "-1 is a class, .* pass another reject_label"),
        ([-1.0, 1.0], None, "-1 is a class"),
        (["dog", "rain"], "rain", "'rain' is a class"),
        (["dog", "rain"], -1, "reject_label must be text"),
        ([0, 1], "unknown", "reject_label must be an integer"),
        ([0, 1], 0.5, "reject_label must be an integer"),
        ([0.0, 1.0], "unknown", "reject_label must be a number"),
        ([False, True], None, "boolean labels have no value for a clip without a label"),
        ([False, True], 1, "1 is a class"),
    ],
)
def test_a_reject_label_that_cannot_be_told_from_a_class_is_refused(
    classes: Any, reject_label: Any, message: str
) -> None:
    X, y = two_classes(classes)
    with pytest.raises(ValueError, match=message):
        CALMClassifier().fit(X, y).predict(X, reject=0.05, reject_label=reject_label)


def test_booleans_become_integers_with_a_numeric_reject_label() -> None:
    X, y = two_classes([False, True])
    predicted = CALMClassifier().fit(X, y).predict(np.concatenate([X, strange_clip()]), reject=0.03, reject_label=-1)
    assert predicted.tolist() == [0] * 20 + [1] * 20 + [-1]
    assert accuracy_score(np.append(y, True), predicted) == pytest.approx(40 / 41)
    assert evaluate(np.append(y, True), predicted).correct == 40


def test_a_true_label_is_never_taken_for_the_default_reject_label() -> None:
    result = evaluate([-1, -1, 1], [-1, 1, -1])
    assert (result.correct, result.rejected) == (1, 0)
    assert [one.clips for one in result.classes] == [2, 1]


@settings(deadline=None)
@given(
    labels=st.lists(st.sampled_from(["a", "bb", "none"]), min_size=1)
    | st.lists(st.integers(-(2**62), 2**62), min_size=1)
    | st.lists(st.integers(0, 255).map(np.uint8), min_size=1),
    seed=st.integers(0, 99),
)
def test_only_rejected_labels_change(labels: list[Any], seed: int) -> None:
    array = np.array(labels)
    is_rejected = np.random.default_rng(seed).random(len(labels)) < 0.5
    marker = "none of these" if array.dtype.kind == "U" else 7
    if marker not in array.tolist():
        assert choose_reject_label(array, marker) == marker
    marked = put_reject_label(array, is_rejected, marker)
    assert marked[is_rejected].tolist() == [marker] * int(is_rejected.sum())
    assert marked[~is_rejected].tolist() == array[~is_rejected].tolist()


def test_a_reject_label_may_need_a_larger_dtype_than_the_labels() -> None:
    marked = put_reject_label(np.array([1, 2], dtype=np.int8), np.array([False, True]), 1000)
    assert marked.tolist() == [1, 1000]


@pytest.mark.parametrize(("labels", "reject_label"), [(["dog", "rain"], "dog"), ([0, 1], 1)])
def test_evaluate_refuses_a_reject_label_that_is_a_true_label(labels: list[Any], reject_label: Any) -> None:
    with pytest.raises(ValueError, match="is a true label"):
        evaluate(labels, labels, reject_label=reject_label)
