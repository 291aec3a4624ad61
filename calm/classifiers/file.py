"""The file of a fitted classifier: safetensors for arrays, JSON in its header for the rest, never pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.parts import part_beside

FORMAT = "calm classifier"
FORMAT_VERSION = 2


def write_classifier_file(path: Path, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a file whole or not at all; one that was there is replaced only by a whole one.

    Raises
    ------
    FileExistsError
        If something else than a classifier is there, such as a cache or a recording.
    OSError
        If it cannot be written.
    """
    from safetensors.numpy import save

    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder to write {path.name} into: {path.parent}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file to write")
    path = path.resolve()  # a link stays a link
    if path.exists() and not is_classifier_file(path):
        raise FileExistsError(f"{path} is there already and is no fitted classifier: it is not replaced")
    labelled = {"format": FORMAT, "format_version": FORMAT_VERSION, **header}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    part = part_beside(path)
    try:
        with part.open("wb") as file:
            file.write(save(arrays, metadata={"calm": json.dumps(labelled, default=_plain)}))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def is_classifier_file(path: Path) -> bool:
    """Tell whether a file is a classifier that calm wrote."""
    if not path.is_file():
        return False
    try:
        read_classifier_file(path)
    except ValueError:
        return False
    return True


def read_classifier_file(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header and the arrays of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a saved classifier, is truncated, or was written by a newer version.
    """
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
    try:
        header = json.loads(metadata["calm"])
        version = int(header["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} has a damaged header: {error}") from error
    if version != FORMAT_VERSION:
        what_to_do = "update calm" if version > FORMAT_VERSION else "fit it again"
        raise ValueError(f"{path} has format version {version}; this calm reads {FORMAT_VERSION}: {what_to_do}")
    return header, tensors


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's, as a grid search leaves them among the parameters."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be saved: {value!r}")
