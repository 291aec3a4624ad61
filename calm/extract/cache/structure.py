"""Check the structure of a file before any of its data is read or written.

HDF5 follows every reference in a file: links to other files, datasets stored in any file of the system, and views of
other datasets. A head cache contains none of them, so a file from a stranger cannot make calm read or write another
file.
"""

from __future__ import annotations

import itertools
import math

import h5py
import numpy as np

from calm.extract.cache.layout import COLUMNS, TEXT, Column, DamagedFileError

_PLAIN_CLASSES = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING)


def check_structure(file: h5py.File, version: int, size: int) -> None:
    """Check that a file has the datasets of a head cache and nothing else, stored as plain bytes within the file.

    Parameters
    ----------
    file : h5py.File
        The open file.
    version : int
        Its format version.
    size : int
        Its size in bytes.

    Raises
    ------
    DamagedFileError
        If the structure is wrong; the message says where.
    """
    if version not in COLUMNS:
        raise DamagedFileError(f"unknown format version {version}")
    columns = COLUMNS[version]
    _check_names(file, columns)
    extents: list[tuple[int, int, str]] = []
    lengths: dict[str, int] = {}
    for name, column in columns.items():
        dataset = h5py.h5d.open(file.id, name.encode())
        _check_plain(dataset, name)
        _check_type(dataset, name, column)
        _check_shape(dataset, name, column, lengths)
        extents.append(_find_extent(dataset, name, size))
    for (_, end, name), (start, _, other) in itertools.pairwise(sorted(extents)):
        if start < end:
            raise DamagedFileError(f"{name} and {other} overlap in the file")


def _check_names(file: h5py.File, columns: dict[str, Column]) -> None:
    """Check that a file contains exactly these datasets, each under one name and without links."""
    links, addresses = file.id.links, set()
    for name in columns:
        if not links.exists(name.encode()):
            raise DamagedFileError(f"{name} is missing")
        link = links.get_info(name.encode())
        if link.type != h5py.h5l.TYPE_HARD:
            raise DamagedFileError(f"{name} is a link")
        info = h5py.h5o.get_info(file.id, name.encode())
        if info.type != h5py.h5o.TYPE_DATASET:
            raise DamagedFileError(f"{name} is not a dataset")
        if info.rc != 1 or info.addr in addresses:
            raise DamagedFileError(f"{name} has a second name")
        addresses.add(info.addr)
    if file.id.get_num_objs() != len(columns):
        raise DamagedFileError("it contains objects that are not part of a head cache")


def _check_plain(dataset: h5py.h5d.DatasetID, name: str) -> None:
    """Check that a dataset is contiguous and stored in this file, without making HDF5 open another file."""
    creation = dataset.get_create_plist()
    if creation.get_layout() != h5py.h5d.CONTIGUOUS or creation.get_nfilters():
        raise DamagedFileError(f"{name} is not stored contiguously")
    if creation.get_external_count():
        raise DamagedFileError(f"{name} is stored in another file")


def _check_type(dataset: h5py.h5d.DatasetID, name: str, column: Column) -> None:
    """Check that a dataset has one of the types of its column."""
    expected = " or ".join(column.types)
    stored = dataset.get_type()
    if stored.committed() or stored.get_class() not in _PLAIN_CLASSES:
        raise DamagedFileError(f"{name} has the wrong type: expected {expected}")
    dtype = stored.dtype
    text = h5py.check_string_dtype(dtype)
    if text is not None:
        is_expected = TEXT in column.types and text.length is not None
    else:
        is_expected = any(dtype == np.dtype(allowed) for allowed in column.types if allowed != TEXT)
    if not is_expected:
        raise DamagedFileError(f"{name} has type {dtype}: expected {expected}")


def _check_shape(dataset: h5py.h5d.DatasetID, name: str, column: Column, lengths: dict[str, int]) -> None:
    """Check the axes of a dataset; axes of the same name must have the same length in all datasets."""
    space = dataset.get_space()
    if space.get_simple_extent_type() != h5py.h5s.SIMPLE or len(space.shape) != len(column.axes):
        raise DamagedFileError(f"{name} has the wrong shape: expected ({', '.join(map(str, column.axes))})")
    for axis, length in zip(column.axes, space.shape, strict=True):
        expected = axis if isinstance(axis, int) else lengths.setdefault(axis, length)
        if length != expected:
            raise DamagedFileError(f"{name} has {length} entries along {axis}: expected {expected}")
        if length == 0 and axis in ("layer", "head", "dim"):
            raise DamagedFileError(f"{name} has no {axis}")


def _find_extent(dataset: h5py.h5d.DatasetID, name: str, size: int) -> tuple[int, int, str]:
    """Return where the bytes of a dataset start and end; they must lie within the file."""
    n_bytes = math.prod(dataset.get_space().shape) * dataset.get_type().get_size()
    start = dataset.get_offset()
    if n_bytes == 0:
        return 0, 0, name
    if start is None or start + n_bytes > size or dataset.get_storage_size() < n_bytes:
        raise DamagedFileError(f"{name} extends beyond the end of the file")
    return start, start + n_bytes, name
