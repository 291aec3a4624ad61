"""Files of fitted classifiers: a safetensors file with the arrays, and a JSON header with everything else.

Nothing is pickled, and nothing in a file is trusted: it is validated before a classifier is built from it.
"""

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

#: Maximum header size in bytes that safetensors allows.
_MAX_HEADER_BYTES = 100_000_000
#: safetensors dtypes of the arrays of classifiers.
_STORED_DTYPES = ("F32", "F64", "I64")

_FiniteFloat = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_ExactInt = Annotated[int, Meta(ge=-(2**53), le=2**53)]
_JsonScalar = str | bool | _ExactInt | _FiniteFloat | None


class StoredExtraction(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How the head vectors were extracted, as stored in a file."""

    request: dict[str, _JsonScalar]
    fingerprint: dict[str, _JsonScalar]
    text: str | None


class Header(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """JSON header: everything except the arrays."""

    format: str
    format_version: int
    classifier: str  #: name of the classifier class
    parameters: dict[str, _JsonScalar]
    classes: Annotated[list[str | bool | int | float], Meta(min_length=2)]
    classes_dtype: Annotated[str, Meta(pattern=r"^(object|\|b1|[<>|][iu][1248]|[<>]f[248]|[<>]U\d{1,5})$")]
    feature_names: list[str] | None  #: columns of the data frame on which the classifier was fitted
    extraction: StoredExtraction | None
    learned: dict[str, Any]  #: learned values by attribute name, as declared by the class


class _TextsOfVersion2(msgspec.Struct, forbid_unknown_fields=True):
    feature_names_in_: list[str] | None = None


class _HeaderOfVersion2(Header, kw_only=True, forbid_unknown_fields=True):
    feature_names: list[str] | None = None
    texts: _TextsOfVersion2


class _Version(msgspec.Struct):
    format_version: int


class _SafetensorsMetadata(msgspec.Struct):
    """Metadata in the header of a safetensors file; descriptions of the arrays are skipped."""

    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


def check_writable(path: str | Path) -> None:
    """Check that a classifier can be written to a file, before it is fitted.

    Parameters
    ----------
    path : str or Path
        File to write.

    Raises
    ------
    FileExistsError
        If the file exists and is not a saved classifier, for example a head cache or an audio file.
    IsADirectoryError
        If ``path`` is a folder.
    FileNotFoundError
        If the parent folder does not exist.
    OSError
        If the parent folder is not writable, or ``path`` is a symbolic link in a loop.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_writable(f"{folder}/calm.safetensors")
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    path = _resolve_links(path)
    check_writable_folder(path)
    if path.exists() and not is_classifier_file(path):
        raise FileExistsError(
            f"{path} exists and is not a saved classifier, so it is not replaced: choose another file name"
        )


def _resolve_links(path: Path) -> Path:
    """Return the target of a symbolic link, so that the link itself is kept."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # realpath stops at a loop
        raise OSError(f"{path} is a symbolic link in a loop: give the name of a file")
    return target


def write_classifier_file(path: Path, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write a classifier file atomically.

    Parameters
    ----------
    path : Path
        File to write. An existing classifier file is replaced only by a complete one.
    header : mapping
        Fields of :class:`Header`, except ``format`` and ``format_version``.
    tensors : mapping of str to array
        Learned arrays by attribute name.

    Raises
    ------
    OSError
        If the file cannot be written; :func:`check_writable` detects most reasons in advance.
    """
    from safetensors.numpy import save

    check_writable(path)
    path = _resolve_links(path)
    full_header = {"format": FORMAT, "format_version": FORMAT_VERSION, **header}
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    content = save(arrays, metadata={"calm": json.dumps(full_header, default=_to_python_scalar, allow_nan=False)})
    try:
        with create_atomic_file(path) as temporary:
            temporary.file.write(content)
            temporary.file.flush()
            os.fsync(temporary.file.fileno())
            temporary.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def is_classifier_file(path: Path) -> bool:
    """Return whether a file has the header of a saved classifier, of any version; the rest may be truncated."""
    if not path.is_file():
        return False
    try:
        _read_description(path)
    except (ValueError, RecursionError):
        return False
    return True


def read_classifier_file(path: Path) -> tuple[Header, dict[str, NDArray[Any]]]:
    """Read the header and the arrays of a file, without the validation against the classifier class.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    IsADirectoryError
        If ``path`` is a folder.
    ValueError
        If the file is not a saved classifier, is damaged, or has a format version that cannot be read.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a saved classifier")
    with damage_as_value_error(path):
        if not path.is_file():
            raise ValueError("not a regular file")
        description = _read_description(path)
        version = msgspec.convert(description, _Version).format_version
    if version not in (2, FORMAT_VERSION):
        advice = "update calm" if version > FORMAT_VERSION else "fit and save the classifier again"
        raise ValueError(
            f"{path} has format version {version}, but this version of calm reads 2 and {FORMAT_VERSION}: {advice}"
        )
    with damage_as_value_error(path):
        return _parse_header(description, version), _read_arrays(path)


@contextmanager
def damage_as_value_error(path: Path) -> Iterator[None]:
    """Turn an error in the contents of a file into a ValueError with a one-line message that names the file.

    Raises
    ------
    ValueError
        If the contents are invalid.
    """
    try:
        yield
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged or not a saved classifier: {reason}") from error


def _read_description(path: Path) -> dict[str, Any]:
    """Read the JSON header of a classifier; only its ``format`` is validated yet."""
    with path.open("rb") as file:
        size, remaining = int.from_bytes(file.read(8), "little"), path.stat().st_size - 8
        if not 0 < size <= min(remaining, _MAX_HEADER_BYTES):
            raise ValueError("not a safetensors file, or truncated")
        safetensors_header = file.read(size)
    metadata = msgspec.json.decode(safetensors_header, type=_SafetensorsMetadata).metadata
    if "calm" not in metadata:
        raise ValueError("a safetensors file without a classifier")
    # Version 2 wrote NaN and Infinity, which are not valid JSON, where version 3 writes null.
    description = json.loads(metadata["calm"], parse_constant=lambda _: None)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError("the header does not describe a classifier")
    return description


def _parse_header(description: dict[str, Any], version: int) -> Header:
    """Validate a JSON header, and convert one of format version 2 to the current version."""
    if version == FORMAT_VERSION:
        return msgspec.convert(description, Header)
    header = msgspec.convert(description, _HeaderOfVersion2)
    header.feature_names = header.texts.feature_names_in_
    if header.learned.get("scatter_", ...) is None:  # version 3 leaves missing arrays out
        del header.learned["scatter_"]
    return header


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of a safetensors file, if their dtypes are those of classifiers."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                dtype = file.get_slice(name).get_dtype()
                if dtype not in _STORED_DTYPES:
                    raise ValueError(f"{name} has dtype {dtype}; expected one of {', '.join(_STORED_DTYPES)}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file, or truncated: {error}") from error


def labels_to_json(classes: NDArray[Any]) -> dict[str, Any]:
    """Return the header fields of class labels.

    Raises
    ------
    TypeError
        If the labels are neither text, numbers nor booleans.
    """
    labels, kind = classes.tolist(), classes.dtype.kind
    if kind not in _LABEL_TYPES or (kind == "O" and {*map(type, labels)} != {str}):
        raise TypeError(f"labels of type {classes.dtype} cannot be saved: use text, numbers or booleans")
    return {"classes": labels, "classes_dtype": "object" if kind == "O" else classes.dtype.str}


def labels_from_json(labels: list[Any], dtype: str) -> NDArray[Any]:
    """Validate class labels from a header: of one type, sorted and unique.

    Raises
    ------
    ValueError
        If the labels are invalid.
    """
    try:
        msgspec.convert(labels, _LABEL_TYPES["O" if dtype == "object" else np.dtype(dtype).kind])
        classes = np.asarray(labels, dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"classes do not have dtype {dtype}: {error}") from error
    if classes.tolist() != labels or not np.array_equal(np.unique(classes), classes):
        raise ValueError(f"classes are not sorted, not unique, or do not have dtype {dtype}")
    return classes


#: JSON type of class labels, by the dtype kind of their array.
_LABEL_TYPES: dict[str, Any] = {
    "O": list[str],
    "U": list[str],
    "b": list[bool],
    "i": list[int],
    "u": list[int],
    "f": list[_FiniteFloat],
}


def extraction_to_json(extraction: Extraction) -> dict[str, Any]:
    """Return the header field of an extraction; an unlimited clip length is stored as null."""
    fingerprint = asdict(extraction.fingerprint)
    seconds = fingerprint["max_seconds"]
    return {
        "request": extraction.request.options,
        "fingerprint": fingerprint | {"max_seconds": seconds if math.isfinite(seconds) else None},
        "text": extraction.text,
    }


def extraction_from_json(stored: StoredExtraction) -> Extraction:
    """Rebuild an extraction from a header field.

    Raises
    ------
    ValueError
        If the field is invalid.
    """
    fingerprint: dict[str, Any] = dict(stored.fingerprint)
    if fingerprint.get("max_seconds") is None:
        fingerprint["max_seconds"] = math.inf
    try:
        restored = msgspec.convert(fingerprint, Fingerprint)
    except ValueError as error:
        raise ValueError(f"the fingerprint is invalid: {error}") from error
    return Extraction(Request.from_stored(stored.request), restored, stored.text)


def _to_python_scalar(value: Any) -> Any:
    """Convert a numpy scalar to a Python one; a grid search sets parameters to numpy scalars."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} cannot be saved: {value!r}")
