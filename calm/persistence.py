"""Fitted classifiers on disk: safetensors for arrays, JSON for the rest, never pickle."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from calm.base import HeadClassifier
from calm.calm_classifier import CALMClassifier
from calm.extract import Extraction, Fingerprint, Request
from calm.sav_classifier import SAVClassifier

FORMAT = "calm classifier"
FORMAT_VERSION = 1
CLASSIFIERS: dict[str, type[HeadClassifier]] = {c.__name__: c for c in (CALMClassifier, SAVClassifier)}


def save(classifier: HeadClassifier, path: str | Path) -> None:
    """Write a fitted classifier.

    Learned arrays become tensors; parameters, classes and how the head vectors were made become JSON in the file's
    header. The file appears whole or not at all.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it has not been fitted.
    TypeError
        If its labels are neither text, numbers nor booleans.
    OSError
        If the file cannot be written; one that was there is then left as it was.
    """
    from safetensors.numpy import save as to_bytes
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(classifier)
    learned = {name: value for name, value in vars(classifier).items() if name.endswith("_")}
    classes, extraction = learned.pop("classes_"), learned.pop("extraction_")
    if classes.dtype.kind not in "UOifub":
        raise TypeError(f"labels of type {classes.dtype} cannot be saved: use text, numbers or booleans")
    tensors = {name: np.ascontiguousarray(value) for name, value in learned.items() if isinstance(value, np.ndarray)}
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "classifier": type(classifier).__name__,
        "parameters": classifier.get_params(),
        "classes": classes.tolist(),
        "classes_dtype": "object" if classes.dtype.kind == "O" else classes.dtype.str,
        "extraction": None if extraction is None else asdict(extraction),
        "learned": {name: value for name, value in learned.items() if name not in tensors},
    }
    _write_whole(Path(path), to_bytes(tensors, metadata={"calm": json.dumps(header)}))


def _write_whole(path: Path, content: bytes) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder to write {path.name} into: {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file to write")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: str | Path) -> HeadClassifier:
    """Read a classifier that was saved.

    Returns
    -------
    HeadClassifier
        Of the class that was saved, fitted.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a saved classifier, is damaged, or was written by a newer version.

    Examples
    --------
    >>> import tempfile
    >>> X = np.random.default_rng(0).normal(size=(10, 3, 8))
    >>> clf = CALMClassifier().fit(X, np.repeat(["dog", "rain"], 5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.save(f"{folder}/calm.safetensors")
    ...     again = load(f"{folder}/calm.safetensors")
    >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    header, tensors = _read(Path(path))
    try:
        classifier = CLASSIFIERS[header["classifier"]](**header["parameters"])
        for name, value in (header["learned"] | tensors).items():
            setattr(classifier, name, value)
        classifier.classes_ = np.asarray(header["classes"], dtype=header["classes_dtype"])
        classifier.extraction_ = _as_extraction(header["extraction"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged, or of another version of calm: {error}") from error
    return classifier


def _as_extraction(fields: dict[str, Any] | None) -> Extraction | None:
    if fields is None:
        return None
    return Extraction(Request(**fields["request"]), Fingerprint(**fields["fingerprint"]), fields["text"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a saved classifier")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or is truncated: {error}") from error
    if "calm" not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not a classifier saved by calm")
    header = json.loads(metadata["calm"])
    if header["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {header['format_version']}; this calm reads up to {FORMAT_VERSION}: update calm"
        )
    return header, tensors
