"""Opening a head cache's HDF5 file, and telling in plain words why it cannot be."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import h5py

from calm.extract.cache.attributes import is_head_cache, version_of
from calm.extract.cache.layout import FORMAT_VERSION
from calm.extract.cache.structure import check_structure
from calm.extract.media.file import check_regular

File = TypeVar("File", bound=Any)


def open_cache_file(path: Path, mode: str, locking: bool | str) -> h5py.File:
    """Open the HDF5 file of a head cache, once it is known to be built as one.

    Parameters
    ----------
    path : path
    mode : {"r", "r+"}
    locking : bool or "best-effort"
        As h5py takes it.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
    BlockingIOError
        If another process has locked it.
    ValueError
        If it is not a head cache, is damaged, or was written by a newer version.
    OSError
        If it is no regular file, if it is to be written and this process has it open, or if the system cannot open it
        for another reason.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a head cache")
    check_regular(path, path.stat().st_mode)  # HDF5 would wait at a named pipe
    if mode != "r":  # HDF5 may allocate as soon as a dataset is opened to be written
        open_cache_file(path, "r", locking=False).close()
    with close_on_error(_open(path, mode, locking)) as file:
        _check(file, path)
    return file


@contextlib.contextmanager
def close_on_error(file: File) -> Iterator[File]:
    """Close a file if what is done with it first does not end well, and leave it open otherwise.

    Parameters
    ----------
    file : h5py.File, HeadCache, or anything else with a ``close()``
    """
    with contextlib.ExitStack() as on_error:
        on_error.callback(file.close)
        yield file
        on_error.pop_all()


def _open(path: Path, mode: str, locking: bool | str) -> h5py.File:
    try:
        return h5py.File(path, mode, locking=locking)
    except BlockingIOError:
        raise BlockingIOError(f"{path} is being written by another process") from None
    except PermissionError as error:
        raise PermissionError(f"no permission to {'read' if mode == 'r' else 'write'} {path}") from error
    except OSError as error:
        if "truncated file" in str(error):
            raise ValueError(f"{path} is a truncated HDF5 file: copy or extract it again") from error
        if not h5py.is_hdf5(path):
            raise ValueError(f"{path} is not a head cache") from error
        if "already open for read-only" in str(error):
            raise OSError(f"{path} is open in this process: close the HeadCache that is open on it") from error
        raise OSError(f"cannot open {path}: {os_error_message(error)}") from error


def _check(file: h5py.File, path: Path) -> None:
    with damage_as_value_error(path):
        known = is_head_cache(file)
        version = version_of(file) if known else 0
        if known and version <= FORMAT_VERSION:
            check_structure(file, version, path.stat().st_size)
    if not known:
        raise ValueError(f"{path} is an HDF5 file, but not a head cache")
    if version > FORMAT_VERSION:
        raise ValueError(f"{path} has format version {version}; this calm reads up to {FORMAT_VERSION}: update calm")


@contextlib.contextmanager
def damage_as_value_error(path: Path) -> Iterator[None]:
    """Say of what goes wrong while a cache is read which file it is, in one line.

    Raises
    ------
    ValueError
        If it is damaged.
    OSError
        If the system cannot read it.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, NotImplementedError) as error:
        if isinstance(error, OSError) and (error.errno or "errno" in str(error)):  # the system's, not HDF5's
            raise OSError(f"cannot read {path}: {os_error_message(error)}") from error
        raise ValueError(f"{path} is damaged: {os_error_message(error)}") from error


def os_error_message(error: Exception) -> str:
    """Find the operating system's own words in those of HDF5."""
    found = re.search(r"error message = '([^']*)'", str(error))
    return found.group(1) if found else " ".join(str(error).split())
