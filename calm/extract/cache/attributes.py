"""The attributes of a head cache: how its head vectors were asked for and made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any

import h5py
import msgspec

from calm.extract.cache.layout import FORMAT, FORMAT_VERSION, DamagedFileError
from calm.extract.fingerprint import Fingerprint
from calm.extract.request import Request

_KINDS = {
    "str": (h5py.h5t.STRING,),
    "int": (h5py.h5t.INTEGER,),
    "float": (h5py.h5t.FLOAT, h5py.h5t.INTEGER),
}


def is_head_cache(file: h5py.File) -> bool:
    """Tell whether a file says of itself that it is one."""
    try:
        return _attribute(file, "format", "str") == FORMAT
    except DamagedFileError:
        return False


def version_of(file: h5py.File) -> int:
    """Return the version of a file's format."""
    return int(_attribute(file, "format_version", "int"))


def write_attributes(file: h5py.File, request: Request, fingerprint: Fingerprint, made_with: Mapping[str, str]) -> None:
    """Describe a new cache."""
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
    """Read what was asked for.

    Raises
    ------
    DamagedFileError
        If it is not the JSON of a request.
    """
    try:
        return Request.from_json(_attribute(file, "request", "str"))
    except ValueError as error:
        raise DamagedFileError(str(error)) from error


def read_made_with(file: h5py.File) -> dict[str, str]:
    """Read versions of the software and of the checkpoint.

    Raises
    ------
    DamagedFileError
        If it is not the JSON of texts by name.
    """
    text = _attribute(file, "made_with", "str")
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except ValueError as error:
        raise DamagedFileError(f"made_with cannot be read: {error}") from error


def read_fingerprint(file: h5py.File, layers: int) -> Fingerprint:
    """Read all that changes a head vector; a field that came later may be missing, and has its default.

    Raises
    ------
    DamagedFileError
        If one is missing or of another type, a number is below zero, or not every one of the layers has a number.
    """
    told: dict[str, Any] = {}
    for field in fields(Fingerprint):
        if field.default is not MISSING and field.name not in file.attrs:
            continue
        told[field.name] = value = _attribute(file, field.name, str(field.type))
        if not isinstance(value, str) and not value >= 0:
            raise DamagedFileError(f"attribute {field.name} is {value}")
    fingerprint = Fingerprint(**told)
    numbers = fingerprint.layers.split()
    if numbers and not (len(numbers) == layers and all(number.isdecimal() for number in numbers)):
        raise DamagedFileError(f"attribute layers does not number its {layers} layers")
    return fingerprint


def _attribute(file: h5py.File, name: str, kind: str) -> Any:
    """Read one text or number; whatever else an attribute may be is not even looked at."""
    if name not in file.attrs:
        raise DamagedFileError(f"attribute {name} is missing")
    attribute = h5py.h5a.open(file.id, name.encode())
    scalar = attribute.get_space().get_simple_extent_type() == h5py.h5s.SCALAR
    if not scalar or attribute.get_type().get_class() not in _KINDS[kind]:
        raise DamagedFileError(f"attribute {name} is of another type")
    value = file.attrs[name]
    if kind != "str":
        return value.item()
    try:
        text = value.decode() if isinstance(value, bytes) else value
        text.encode()  # h5py lets through what is no text
    except UnicodeError:
        raise DamagedFileError(f"attribute {name} is not text") from None
    return text
