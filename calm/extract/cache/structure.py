"""Whether a file is built as a head cache is, found out before anything in it is read or written.

HDF5 follows whatever a file says: links to other files, datasets whose bytes lie in any file of the system, views of
other datasets. A cache has none of them.
"""

from __future__ import annotations

import itertools
import math

import h5py
import numpy as np

from calm.extract.cache.layout import COLUMNS, TEXT, Column, DamagedFileError

_PLAIN = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING)


def check_structure(file: h5py.File, version: int, size: int) -> None:
    """Refuse a file whose datasets are not those of a head cache, or not plain bytes within it.

    Parameters
    ----------
    file : h5py.File
    version : int
        Of its format.
    size : int
        Of the file, in bytes.

    Raises
    ------
    DamagedFileError
        Saying what is not as it should be.
    """
    if version not in COLUMNS:
        raise DamagedFileError(f"there is no format version {version}")
    columns = COLUMNS[version]
    _check_names(file, columns)
    places: list[tuple[int, int, str]] = []
    lengths: dict[str, int] = {}
    for name, column in columns.items():
        dataset = h5py.h5d.open(file.id, name.encode())
        _check_plain(dataset, name)
        _check_type(dataset, name, column)
        _check_shape(dataset, name, column, lengths)
        places.append(_place(dataset, name, size))
    for (_, end, name), (start, _, other) in itertools.pairwise(sorted(places)):
        if start < end:
            raise DamagedFileError(f"{name} and {other} share bytes")


def _check_names(file: h5py.File, columns: dict[str, Column]) -> None:
    """See that a file holds just these datasets, each by one plain name."""
    links, addresses = file.id.links, set()
    for name in columns:
        if not links.exists(name.encode()):
            raise DamagedFileError(f"{name} is missing")
        link = links.get_info(name.encode())
        if link.type != h5py.h5l.TYPE_HARD:
            raise DamagedFileError(f"{name} is a link to somewhere else")
        there = h5py.h5o.get_info(file.id, name.encode())
        if there.type != h5py.h5o.TYPE_DATASET:
            raise DamagedFileError(f"{name} is not a dataset")
        if there.rc != 1 or there.addr in addresses:
            raise DamagedFileError(f"{name} has another name too")
        addresses.add(there.addr)
    if file.id.get_num_objs() != len(columns):
        raise DamagedFileError("it holds more than the datasets of a head cache")


def _check_plain(dataset: h5py.h5d.DatasetID, name: str) -> None:
    """See that a dataset's bytes lie in this file, one after the other; asks nothing that would make HDF5 go there."""
    creation = dataset.get_create_plist()
    if creation.get_layout() != h5py.h5d.CONTIGUOUS or creation.get_nfilters():
        raise DamagedFileError(f"{name} is not stored contiguously")
    if creation.get_external_count():
        raise DamagedFileError(f"{name} is stored in another file")


def _check_type(dataset: h5py.h5d.DatasetID, name: str, column: Column) -> None:
    stored = dataset.get_type()
    if stored.committed() or stored.get_class() not in _PLAIN:
        raise DamagedFileError(f"{name} is of another type than {' or '.join(column.types)}")
    dtype = stored.dtype
    text = h5py.check_string_dtype(dtype)
    if text is not None:
        right = TEXT in column.types and text.length is not None
    else:
        right = any(dtype == np.dtype(known) for known in column.types if known != TEXT)
    if not right:
        raise DamagedFileError(f"{name} is of type {dtype}, not {' or '.join(column.types)}")


def _check_shape(dataset: h5py.h5d.DatasetID, name: str, column: Column, lengths: dict[str, int]) -> None:
    """See that a dataset's axes are as long as those of the same names before it."""
    space = dataset.get_space()
    if space.get_simple_extent_type() != h5py.h5s.SIMPLE or len(space.shape) != len(column.axes):
        raise DamagedFileError(f"{name} is not of the shape ({', '.join(map(str, column.axes))})")
    for axis, length in zip(column.axes, space.shape, strict=True):
        known = axis if isinstance(axis, int) else lengths.setdefault(axis, length)
        if length != known:
            raise DamagedFileError(f"{name} has {length} entries along {axis}, not {known}")
        if length == 0 and axis in ("layer", "head", "dim"):
            raise DamagedFileError(f"{name} has no {axis}")


def _place(dataset: h5py.h5d.DatasetID, name: str, size: int) -> tuple[int, int, str]:
    """Tell where a dataset's bytes begin and end, which must be within the file."""
    taken = math.prod(dataset.get_space().shape) * dataset.get_type().get_size()
    start = dataset.get_offset()
    if taken == 0:
        return 0, 0, name
    if start is None or start + taken > size or dataset.get_storage_size() < taken:
        raise DamagedFileError(f"{name} reaches beyond the end of the file")
    return start, start + taken, name
