"""Files are not trusted: they load as consistent classifiers, or are refused with a one-line message."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from sklearn.base import clone

from calm import CALMClassifier, load, make_method
from calm.classifiers.base import HeadClassifier
from calm.classifiers.registry import METHODS
from tests.tasks import cache_of, task

Content = tuple[dict[str, Any], dict[str, NDArray[Any]]]


def opened(path: Path) -> Content:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["calm"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def written(path: Path, header: Any, tensors: dict[str, NDArray[Any]]) -> Path:
    text = header if isinstance(header, str) else json.dumps(header)
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata={"calm": text})
    return path


def check_refused(path: Path, message: str = "") -> None:
    with pytest.raises(ValueError, match="is damaged or not a saved classifier: ") as raised:
        load(path)
    assert str(raised.value).startswith(f"{path} is damaged or not a saved classifier: ")
    assert "\n" not in str(raised.value)
    assert message in str(raised.value)


class Saved(dict[str, Content]):
    """Contents of saved files by method, with a short repr for failure messages."""

    def __repr__(self) -> str:
        return "Saved()"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Fit every method on rows of a head cache, and return the contents of the saved files."""
    folder = tmp_path_factory.mktemp("saved")
    X, y = task()
    contents = Saved()
    with cache_of(folder / "heads.h5", X, y) as cache:
        settings_of = {"sav": {"top_heads": 3}, "calm": {"top_heads": 4}}
        for name in METHODS:
            make_method(name, **settings_of.get(name, {})).fit(cache, y).save(folder / name)
            contents[name] = opened(folder / name)
    return contents


# --- contents of a file ---


def test_the_header_is_json_and_what_is_not_known_is_null(tmp_path: Path) -> None:
    X, y = task(3)
    clf = CALMClassifier().fit(X, y)
    assert np.isnan(clf.held_out_accuracy_)
    clf.save(tmp_path / "one-shot")
    with safe_open(tmp_path / "one-shot", framework="numpy") as file:
        text = file.metadata()["calm"]

    def no_json(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    header = json.loads(text, parse_constant=no_json)
    assert header["format_version"] == 3
    assert header["learned"]["held_out_accuracy_"] is None
    again = load(tmp_path / "one-shot")
    assert isinstance(again, CALMClassifier)
    assert np.isnan(again.held_out_accuracy_) and np.isnan(again.held_out_log_loss_)


def test_no_limit_of_seconds_survives_json(tmp_path: Path) -> None:
    X, y = task()
    with cache_of(tmp_path / "heads.h5", X, y, max_seconds=float("inf")) as cache:
        clf = CALMClassifier().fit(cache, y)
    clf.save(tmp_path / "clf")
    with safe_open(tmp_path / "clf", framework="numpy") as file:
        assert "Infinity" not in file.metadata()["calm"]
    assert load(tmp_path / "clf").extraction_ == clf.extraction_


def save_as_version_2(clf: HeadClassifier, path: Path) -> None:
    """Save a classifier in format version 2, which knew no movement."""
    learned = {name: value for name, value in vars(clf).items() if name.endswith("_") and name != "class_movement_"}
    if getattr(clf, "combine", None) == "vote":
        del learned["directions_"]
    classes, extraction = learned.pop("classes_"), learned.pop("extraction_")
    arrays = {name: value for name, value in learned.items() if isinstance(value, np.ndarray)}
    tensors = {name: value for name, value in arrays.items() if value.dtype.kind in "ifub"}
    header = {
        "format": "calm classifier",
        "format_version": 2,
        "classifier": type(clf).__name__,
        "parameters": {name: value for name, value in clf.get_params().items() if name != "movement"},
        "classes": classes.tolist(),
        "classes_dtype": "object" if classes.dtype.kind == "O" else classes.dtype.str,
        "extraction": None if extraction is None else asdict(extraction) | {"request": extraction.request.options},
        "learned": {name: value for name, value in learned.items() if name not in arrays},
        "texts": {name: value.tolist() for name, value in arrays.items() if name not in tensors},
    }
    written(path, header, tensors)


@pytest.mark.parametrize("clips", [3, 24])
def test_files_of_version_2_are_read(classifier: HeadClassifier, clips: int, tmp_path: Path) -> None:
    X, y = task(clips)
    if isinstance(classifier, CALMClassifier):
        classifier.set_params(movement=None)
    with cache_of(tmp_path / "heads.h5", X, y, max_seconds=float("inf")) as cache:
        classifier.fit(cache, y)
        save_as_version_2(classifier, tmp_path / "old")
        again = load(tmp_path / "old")
        np.testing.assert_array_equal(again.predict_proba(cache), classifier.predict_proba(cache))
    assert again.extraction_ == classifier.extraction_
    assert set(vars(again)) >= {name for name in vars(classifier) if name.endswith("_")}
    frame = pandas.DataFrame(X[:, 0], columns=[f"f{i}" for i in range(8)])
    clone(classifier).fit(frame, y).save(tmp_path / "frame")
    save_as_version_2(clone(classifier).fit(frame, y), tmp_path / "old frame")
    assert load(tmp_path / "old frame").feature_names_in_.tolist() == frame.columns.tolist()


# --- recognizing a classifier file ---


@pytest.mark.parametrize("version", [1, 2, 3, 99])
def test_a_classifier_of_any_version_whole_or_truncated_is_replaced(version: int, saved: Saved, tmp_path: Path) -> None:
    header, tensors = saved["calm"]
    path = written(tmp_path / "calm.safetensors", header | {"format_version": version}, tensors)
    clf = CALMClassifier().fit(*task())
    for size in (path.stat().st_size, path.stat().st_size - 1000):
        written(path, header | {"format_version": version}, tensors)
        path.write_bytes(path.read_bytes()[:size])
        clf.save(path)
        assert load(path).classes_.tolist() == ["dog", "rain", "rooster"]


def test_only_the_header_is_read_to_recognize_a_classifier_file(saved: Saved, tmp_path: Path) -> None:
    header, tensors = saved["calm"]
    path = written(tmp_path / "calm.safetensors", header, tensors)
    with path.open("r+b") as file:
        file.truncate(2**40)  # a sparse file of 1 TiB, too large to be read as a whole
    CALMClassifier().fit(*task()).save(path)
    assert path.stat().st_size < 2**30


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        (2**63).to_bytes(8, "little") + b"{}",
        (10**6).to_bytes(8, "little") + b" " * 100,
        (2).to_bytes(8, "little") + b"[]",
        (200_000).to_bytes(8, "little") + b'{"a":' + b"[" * 199_995,
        (4).to_bytes(8, "little") + b"\xff\xfe\xfd\xfc",
    ],
)
def test_a_file_other_than_safetensors_is_refused_and_kept(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calm.safetensors"
    path.write_bytes(content)
    check_refused(path)
    with pytest.raises(FileExistsError, match="exists and is not a saved classifier"):
        CALMClassifier().fit(*task()).save(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000, '{"format": "another", "format_version": 3}', "{}"])
def test_a_header_of_something_else_is_refused_and_kept(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.safetensors", text, {"a": np.zeros(3)})
    check_refused(path)
    with pytest.raises(FileExistsError, match="exists and is not a saved classifier"):
        CALMClassifier().fit(*task()).save(path)


# --- damaged contents ---


def change(**values: Any) -> Callable[[Content], None]:
    return lambda content: content[0].update(values)


def learned(**values: Any) -> Callable[[Content], None]:
    return lambda content: content[0]["learned"].update(values)


def parameter(**values: Any) -> Callable[[Content], None]:
    return lambda content: content[0]["parameters"].update(values)


def tensor(name: str, of: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Content], None]:
    return lambda content: content[1].update({name: of(content[1][name])})


def without(name: str) -> Callable[[Content], None]:
    def remove(content: Content) -> None:
        for part in (content[0], content[0]["learned"], content[1]):
            part.pop(name, None)

    return remove


def with_nan(array: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.arange(array.size).reshape(array.shape) == 0, np.nan, array)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(classifier="EvilClassifier"), "EvilClassifier"),
        (change(classifier=["CALMClassifier"]), "classifier"),
        (change(classes=["dog", "dog", "rain"]), "classes"),
        (change(classes=["rooster", "rain", "dog"]), "classes"),
        (change(classes=["dog", "rain"]), "class_count_"),
        (change(classes=["dog", 1, None]), "classes"),
        (change(classes=[1, 2, 3]), "classes"),
        (change(classes=["dog"]), "classes"),
        (change(classes_dtype="<U999999999"), "classes_dtype"),
        (change(classes_dtype="<M8[D]"), "classes_dtype"),
        (change(classes_dtype="V8"), "classes_dtype"),
        (change(classes_dtype="<U1"), "classes"),
        (change(surprise=1), "surprise"),
        (change(parameters={"depth": 3}), "depth"),
        (parameter(temperature=-1.0), "temperature must be above 0"),
        (parameter(combine="magic"), "combine must be one of"),
        (parameter(combine=[]), "parameters"),
        (parameter(n_heads="many"), "n_heads"),
        (parameter(temperature=10**400), "parameters"),
        (learned(predict_proba="x"), "predict_proba"),
        (learned(strength_="strong"), "strength_"),
        (learned(temperature_=0.0), "temperature_"),
        (learned(n_heads_in_=10**15), "n_heads_in_"),
        (learned(n_heads_in_=7), "7"),
        (learned(n_heads_in_=True), "n_heads_in_"),
        (learned(layers_=4), "layers_"),
        (learned(layers_=0), "layers_"),
        (learned(dim_=9), "dimensions 9"),
        (learned(support_names_=[1]), "support_names_"),
        (learned(support_names_="abc"), "support_names_"),
        (change(extraction={"request": {}, "fingerprint": {}, "text": None}), "fingerprint"),
        (change(extraction=[]), "extraction"),
        (change(feature_names=["a"]), "feature_names"),
        (without("format_version"), "format_version"),
        (without("classes"), "classes"),
        (without("strength_"), "strength_"),
        (without("prototypes_"), "prototypes_"),
        (without("used_heads_"), "used_heads_"),
        (without("scatter_"), "scatter_"),
        (without("directions_"), "directions_"),
        (lambda content: content[1].update(predict=np.zeros(3)), "predict"),
        (lambda content: content[1].update(classes_=np.zeros(3)), "classes_"),
        (tensor("prototypes_", lambda a: a[:, :2]), "prototypes_"),
        (tensor("prototypes_", lambda a: a.astype(np.int64)), "prototypes_"),
        (tensor("prototypes_", lambda a: a.astype(np.float16)), "prototypes_"),
        (tensor("prototypes_", with_nan), "prototypes_"),
        (tensor("directions_", lambda a: a * np.inf), "directions_"),
        (tensor("class_count_", lambda a: a - 100), "class_count_"),
        (tensor("used_heads_", lambda a: a + 3), "used_heads_"),
        (tensor("used_heads_", lambda a: a - 1), "used_heads_"),
        (tensor("used_heads_", lambda a: a[::-1]), "used_heads_"),
        (tensor("used_heads_", lambda a: a * 0), "used_heads_"),
        (tensor("used_heads_", lambda a: a[:0]), "used heads 1"),
        (tensor("used_heads_", lambda a: a.astype(float)), "used_heads_"),
    ],
)
def test_what_is_wrong_is_named(damage: Callable[[Content], None], message: str, saved: Saved, tmp_path: Path) -> None:
    header, tensors = saved["calm"]
    content = json.loads(json.dumps(header)), dict(tensors)
    damage(content)
    check_refused(written(tmp_path / "clf.safetensors", *content), message)


def test_tensors_of_a_kind_that_numpy_does_not_have_are_refused(saved: Saved, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    header, tensors = saved["calm"]
    there = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    save_file(
        there | {"scatter_": there["scatter_"].bfloat16()},
        tmp_path / "clf.safetensors",
        metadata={"calm": json.dumps(header)},
    )
    check_refused(tmp_path / "clf.safetensors", "scatter_")


def test_layers_that_an_extraction_does_not_name_are_refused(saved: Saved, tmp_path: Path) -> None:
    header = json.loads(json.dumps(saved["calm"][0]))
    header["extraction"]["fingerprint"]["layers"] = "0 two"
    check_refused(written(tmp_path / "clf.safetensors", header, saved["calm"][1]), "extraction")


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    X, y = task()
    clf = CALMClassifier().fit(X, y)
    clf.prototypes_[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="cannot be saved: prototypes_"):
        clf.save(tmp_path / "clf.safetensors")
    assert list(tmp_path.iterdir()) == []


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([2**31, -(2**63), 10**30, 10**400])
    | st.floats(allow_nan=True)
    | st.sampled_from(["", "a", "oas", "joint", "vote", "soft", "hard", "margin", "object", "<U4", "<i8", "tiny"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "n_heads"]), inner, max_size=2),
    max_leaves=4,
)


def places(node: Any) -> list[tuple[Any, Any]]:
    """List every place in a JSON value that can be overwritten."""
    here = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [(node, key) for key, _ in here] + [place for _, value in here for place in places(value)]


def mutate(content: Content, data: st.DataObject) -> None:
    header, tensors = content
    if data.draw(st.booleans(), label="header"):
        node, key = data.draw(st.sampled_from(places(header)))
        if data.draw(st.booleans(), label="delete"):
            del node[key]
        elif data.draw(st.booleans(), label="add"):
            (node if isinstance(node, dict) else header)[data.draw(st.sampled_from(["a", "C", "C_", "scatter_"]))] = 1
        else:
            node[key] = data.draw(json_values)
        return
    name = data.draw(st.sampled_from(sorted(tensors)))
    array = tensors[name]
    match data.draw(st.sampled_from(["delete", "type", "shape", "values", "rename", "swap"])):
        case "delete":
            del tensors[name]
        case "type":
            tensors[name] = array.astype(data.draw(st.sampled_from(["f2", "f4", "f8", "i8", "i4", "u1", "?"])))
        case "shape":
            axis = data.draw(st.integers(0, array.ndim - 1))
            reshape = (
                lambda: array[None],
                lambda: array.ravel(),
                lambda: array.repeat(2, axis),
                lambda: np.delete(array, slice(None), axis),
                lambda: np.delete(array, slice(1, None), axis),
            )
            tensors[name] = data.draw(st.sampled_from(reshape))()
        case "values":
            new = data.draw(st.sampled_from([0, 1, -1, 5, 6, 10**9, 1e-40, 1e38, np.nan, -np.inf]))
            tensors[name] = array.copy()
            if array.size and (array.dtype.kind == "f" or isinstance(new, int)):
                tensors[name].flat[data.draw(st.integers(0, array.size - 1))] = new
        case "rename":
            tensors[data.draw(st.sampled_from(["predict", "classes_", "C_", "hits_", "scatter_"]))] = tensors.pop(name)
        case _:
            other = data.draw(st.sampled_from(sorted(tensors)))
            tensors[name], tensors[other] = tensors[other], tensors[name]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(sorted(METHODS)))
def test_mutated_files_either_load_and_predict_or_raise_a_clear_error(
    data: st.DataObject, name: str, saved: Saved, tmp_path: Path
) -> None:
    header, tensors = saved[name]
    content = json.loads(json.dumps(header)), dict(tensors)
    for _ in range(data.draw(st.integers(1, 3), label="mutations")):
        mutate(content, data)
        if not content[0] or not content[1]:
            return
    path = written(tmp_path / "clf.safetensors", *content)
    try:
        clf = load(path)
    except ValueError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    X, _ = task(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for ask in (clf.predict, clf.predict_proba, clf.explain):
            try:
                ask(X)
            except ValueError:
                continue
    clf.save(tmp_path / "again.safetensors")
    load(tmp_path / "again.safetensors")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_or_truncated_bytes_raise_value_errors_only(data: st.DataObject, saved: Saved, tmp_path: Path) -> None:
    whole = bytearray(written(tmp_path / "clf.safetensors", *saved["sav"]).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "bad.safetensors"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        load(path).predict(task(5)[0])
    except ValueError as error:
        assert "\n" not in str(error)
