"""The file of a fitted classifier: safetensors for arrays, JSON in its header for the rest, never pickle."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from calm.atomic_file import check_writable_folder, create_atomic_file
from calm.extract import Extraction, Fingerprint, Request

FORMAT = "calm classifier"
FORMAT_VERSION = 3

#: What safetensors allows.
_MAX_HEADER_BYTES = 100_000_000
#: Types of arrays that classifiers have.
_STORED_DTYPES = ("F32", "F64", "I64")

_FiniteFloat = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_ExactInt = Annotated[int, Meta(ge=-(2**53), le=2**53)]
_JsonScalar = str | bool | _ExactInt | _FiniteFloat | None


class StoredExtraction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How the head vectors were made, as a file holds it."""

    request: dict[str, _JsonScalar]
    fingerprint: dict[str, _JsonScalar]
    text: str | None


class Header(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All but the arrays."""

    format: str
    format_version: int
    classifier: str  #: name of its class
    parameters: dict[str, _JsonScalar]
    classes: Annotated[list[str | bool | int | float], Meta(min_length=2)]
    classes_dtype: Annotated[str, Meta(pattern=r"^(object|\|b1|[<>|][iu][1248]|[<>]f[248]|[<>]U\d{1,5})$")]
    feature_names: list[str] | None  #: of the data frame that it was fitted on
    extraction: StoredExtraction | None
    learned: dict[str, Any]  #: numbers and texts by name; which ones, the class says


class _TextsOfVersion2(msgspec.Struct, forbid_unknown_fields=True):
    feature_names_in_: list[str] | None = None


class _HeaderOfVersion2(Header, kw_only=True, forbid_unknown_fields=True):
    feature_names: list[str] | None = None
    texts: _TextsOfVersion2


class _Version(msgspec.Struct):
    format_version: int


class _SafetensorsMetadata(msgspec.Struct):
    """Header of a safetensors file, but for what it says of the arrays."""

    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


def check_writable(path: str | Path) -> None:
    """Find out whether a classifier can be written to a place, before it is fitted.

    Parameters
    ----------
    path : path

    Raises
    ------
    FileExistsError
        If something else than a classifier is there, such as a cache or a recording.
    IsADirectoryError, FileNotFoundError
        If it is a folder, or in none.
    OSError
        If nothing can be written into its folder, or it is a link that leads round in a circle.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_writable(f"{folder}/calm.safetensors")
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file to write")
    path = _resolve_links(path)
    check_writable_folder(path)
    if path.exists() and not is_classifier_file(path):
        raise FileExistsError(f"{path} is there already and is no fitted classifier: it is not replaced")


def _resolve_links(path: Path) -> Path:
    """Find what is to be written, so that a link stays a link."""
    if not path.is_symlink():
        return path
    there = Path(os.path.realpath(path))
    if there.is_symlink():  # what stays of a circle
        raise OSError(f"{path} is a link that leads to no file, but round in a circle: name a file to write")
    return there


def write_classifier_file(path: Path, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a file whole or not at all; one that was there is replaced only by a whole one.

    Parameters
    ----------
    path : Path
    header : mapping
        What :class:`Header` describes, but for format and version.
    tensors : mapping of str to array

    Raises
    ------
    OSError
        If it cannot be written; :func:`check_writable` tells most of that beforehand.
    """
    from safetensors.numpy import save

    check_writable(path)
    path = _resolve_links(path)
    labelled = {"format": FORMAT, "format_version": FORMAT_VERSION, **header}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content = save(arrays, metadata={"calm": json.dumps(labelled, default=_to_python_scalar, allow_nan=False)})
    try:
        with create_atomic_file(path) as part:
            part.file.write(content)
            part.file.flush()
            os.fsync(part.file.fileno())
            part.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def is_classifier_file(path: Path) -> bool:
    """Tell whether a file is a classifier of any version of calm, by its header alone; it may be truncated after it."""
    if not path.is_file():
        return False
    try:
        _read_description(path)
    except (ValueError, RecursionError):
        return False
    return True


def read_classifier_file(path: Path) -> tuple[Header, dict[str, NDArray[Any]]]:
    """Return the header and the arrays of a file; what a class asks of them is not checked yet.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a saved classifier, is damaged, or is of a version that this calm does not read.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a saved classifier")
    with damage_as_value_error(path):
        if not path.is_file():
            raise ValueError("it is no regular file")
        described = _read_description(path)
        version = msgspec.convert(described, _Version).format_version
    if version not in (2, FORMAT_VERSION):
        what_to_do = "update calm" if version > FORMAT_VERSION else "fit it again"
        raise ValueError(f"{path} has format version {version}; this calm reads 2 and {FORMAT_VERSION}: {what_to_do}")
    with damage_as_value_error(path):
        return _parse_header(described, version), _read_arrays(path)


@contextmanager
def damage_as_value_error(path: Path) -> Iterator[None]:
    """Tell whatever is wrong with a file in one line.

    Raises
    ------
    ValueError
    """
    try:
        yield
    except (ValueError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged, or no classifier of calm: {what}") from error


def _read_description(path: Path) -> dict[str, Any]:
    """Return the JSON object with which calm describes a classifier, whatever is in it beside the format's name."""
    with path.open("rb") as file:
        size, left = int.from_bytes(file.read(8), "little"), path.stat().st_size - 8
        if not 0 < size <= min(left, _MAX_HEADER_BYTES):
            raise ValueError("it is not a safetensors file, or is truncated")
        front = file.read(size)
    metadata = msgspec.json.decode(front, type=_SafetensorsMetadata).metadata
    if "calm" not in metadata:
        raise ValueError("it is a safetensors file of something else")
    # Version 2 wrote NaN and Infinity, which are no JSON, where null stands now.
    described = json.loads(metadata["calm"], parse_constant=lambda _: None)
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError("its header describes something else")
    return described


def _parse_header(described: dict[str, Any], version: int) -> Header:
    if version == FORMAT_VERSION:
        return msgspec.convert(described, Header)
    old = msgspec.convert(described, _HeaderOfVersion2)
    old.feature_names = old.texts.feature_names_in_
    if old.learned.get("scatter_", ...) is None:  # an array that is not there is left out now
        del old.learned["scatter_"]
    return old


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                kind = file.get_slice(name).get_dtype()
                if kind not in _STORED_DTYPES:
                    raise ValueError(f"{name} is of type {kind}, not {', '.join(_STORED_DTYPES)}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"it is not a safetensors file, or is truncated: {error}") from error


def labels_to_json(classes: NDArray[Any]) -> dict[str, Any]:
    """Describe labels in a header.

    Raises
    ------
    TypeError
        If they are neither text, numbers nor booleans.
    """
    labels, kind = classes.tolist(), classes.dtype.kind
    if kind not in _LABELS or (kind == "O" and {*map(type, labels)} != {str}):
        raise TypeError(f"labels of type {classes.dtype} cannot be saved: use text, numbers or booleans")
    return {"classes": labels, "classes_dtype": "object" if kind == "O" else classes.dtype.str}


def labels_from_json(labels: list[Any], dtype: str) -> NDArray[Any]:
    """Read labels, all of one kind, sorted and each but once, as a fit leaves them.

    Raises
    ------
    ValueError
    """
    try:
        msgspec.convert(labels, _LABELS["O" if dtype == "object" else np.dtype(dtype).kind])
        classes = np.asarray(labels, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"classes are not of type {dtype}: {error}") from error
    if classes.tolist() != labels or not np.array_equal(np.unique(classes), classes):
        raise ValueError(f"classes are not sorted, or not different, or not of type {dtype}")
    return classes


#: What labels are in JSON, by the kind of their array.
_LABELS: dict[str, Any] = {
    "O": list[str],
    "U": list[str],
    "b": list[bool],
    "i": list[int],
    "u": list[int],
    "f": list[_FiniteFloat],
}


def extraction_to_json(extraction: Extraction) -> dict[str, Any]:
    """Describe in a header how head vectors were made; no limit of seconds is null."""
    fingerprint = asdict(extraction.fingerprint)
    seconds = fingerprint["max_seconds"]
    return {
        "request": extraction.request.options,
        "fingerprint": fingerprint | {"max_seconds": seconds if math.isfinite(seconds) else None},
        "text": extraction.text,
    }


def extraction_from_json(stored: StoredExtraction) -> Extraction:
    """Read what :func:`extraction_to_json` wrote.

    Raises
    ------
    ValueError
    """
    fingerprint: dict[str, Any] = dict(stored.fingerprint)
    if fingerprint.get("max_seconds") is None:
        fingerprint["max_seconds"] = math.inf
    try:
        made = msgspec.convert(fingerprint, Fingerprint)
    except ValueError as error:
        raise ValueError(f"its fingerprint cannot be read: {error}") from error
    return Extraction(Request.from_stored(stored.request), made, stored.text)


def _to_python_scalar(value: Any) -> Any:
    """Turn numpy's numbers into Python's, as a grid search leaves them among the parameters."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be saved: {value!r}")
