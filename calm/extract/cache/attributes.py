"""Read and write the HDF5 attributes of a head cache: request, fingerprint, and versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

import h5py
import msgspec

from calm.extract.cache.layout import FORMAT, FORMAT_VERSION, DamagedFileError
from calm.extract.fingerprint import Fingerprint
from calm.extract.request import Request

#: HDF5 type classes that an attribute of a Python type may have.
_TYPE_CLASSES = {
    "str": (h5py.h5t.STRING,),
    "int": (h5py.h5t.INTEGER,),
    "float": (h5py.h5t.FLOAT, h5py.h5t.INTEGER),
}


def is_head_cache(file: h5py.File) -> bool:
    """Return whether a file is marked as a head cache."""
    try:
        return _read_attribute(file, "format", "str") == FORMAT
    except DamagedFileError:
        return False


def read_version(file: h5py.File) -> int:
    """Read the format version of a file."""
    return int(_read_attribute(file, "format_version", "int"))


def write_attributes(file: h5py.File, request: Request, fingerprint: Fingerprint, made_with: Mapping[str, str]) -> None:
    """Write the attributes of a new cache."""
    file.attrs.update(asdict(fingerprint))
    file.attrs.update(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        model=request.model,
        revision=made_with.get("revision", ""),
        request=request.to_json(),
        made_with=msgspec.json.encode(dict(made_with)).decode(),
    )


def read_request(file: h5py.File) -> Request:
    """Read the request of the extraction.

    Raises
    ------
    DamagedFileError
        If the attribute is not the JSON of a request.
    """
    try:
        return Request.from_json(_read_attribute(file, "request", "str"))
    except ValueError as error:
        raise DamagedFileError(str(error)) from error


def read_made_with(file: h5py.File) -> dict[str, str]:
    """Read the versions of the software and of the checkpoint.

    Raises
    ------
    DamagedFileError
        If the attribute is not a JSON object of texts.
    """
    text = _read_attribute(file, "made_with", "str")
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except ValueError as error:
        raise DamagedFileError(f"made_with cannot be read: {error}") from error


def read_fingerprint(file: h5py.File, layers: int) -> Fingerprint:
    """Read the fingerprint; a field that older files lack gets its default.

    Raises
    ------
    DamagedFileError
        If an attribute is missing or has the wrong type, a number is negative, or ``layers`` has the wrong length.
    """
    values: dict[str, Any] = {}
    for field in fields(Fingerprint):
        if field.default is not MISSING and field.name not in file.attrs:
            continue
        values[field.name] = value = _read_attribute(file, field.name, str(field.type))
        if not isinstance(value, str) and not value >= 0:
            raise DamagedFileError(f"attribute {field.name} has the invalid value {value}")
    fingerprint = Fingerprint(**values)
    numbers = fingerprint.layers.split()
    if numbers and not (len(numbers) == layers and all(number.isdecimal() for number in numbers)):
        raise DamagedFileError(f"attribute layers does not have the numbers of {layers} layers")
    return fingerprint


def _read_attribute(file: h5py.File, name: str, kind: str) -> Any:
    """Read one text or number; the type is checked before the value is read."""
    if name not in file.attrs:
        raise DamagedFileError(f"attribute {name} is missing")
    attribute = h5py.h5a.open(file.id, name.encode())
    is_scalar = attribute.get_space().get_simple_extent_type() == h5py.h5s.SCALAR
    if not is_scalar or attribute.get_type().get_class() not in _TYPE_CLASSES[kind]:
        raise DamagedFileError(f"attribute {name} has the wrong type: expected {kind}")
    value = file.attrs[name]
    if kind != "str":
        return value.item()
    try:
        text = value.decode() if isinstance(value, bytes) else value
        text.encode()  # h5py may return lone surrogates, which are not valid text
    except UnicodeError:
        raise DamagedFileError(f"attribute {name} is not valid text") from None
    return text
