"""Open the HDF5 file of a head cache, with readable errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import h5py

from calm.extract.cache.attributes import is_head_cache, read_version
from calm.extract.cache.layout import FORMAT_VERSION
from calm.extract.cache.structure import check_structure
from calm.extract.media.file import check_regular

File = TypeVar("File", bound=Any)


def open_cache_file(path: Path, mode: str, locking: bool | str) -> h5py.File:
    """Open the HDF5 file of a head cache after checking its structure.

    Parameters
    ----------
    path : path
        The HDF5 file.
    mode : {"r", "r+"}
        Read only, or read and write.
    locking : bool or "best-effort"
        The ``locking`` argument of :class:`h5py.File`.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
        If the file does not exist, cannot be accessed, or is a folder.
    BlockingIOError
        If another process has locked it.
    ValueError
        If it is not a head cache, is damaged, or was written by a newer version of calm.
    OSError
        If it is not a regular file, cannot be opened, or cannot be written because this process has it open.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a head cache")
    check_regular(path, path.stat().st_mode)  # HDF5 would block on a named pipe
    if mode != "r":  # check first: HDF5 may allocate space as soon as a dataset is opened for writing
        open_cache_file(path, "r", locking=False).close()
    with close_on_error(_open(path, mode, locking)) as file:
        _check(file, path)
    return file


@contextlib.contextmanager
def close_on_error(file: File) -> Iterator[File]:
    """Close a file if the ``with`` block raises an exception, and leave it open otherwise.

    Parameters
    ----------
    file : h5py.File, HeadCache, or any object with a ``close()`` method
        The file that the block works on.
    """
    with contextlib.ExitStack() as on_error:
        on_error.callback(file.close)
        yield file
        on_error.pop_all()


def is_empty_file(path: Path) -> bool:
    """Return whether a path is an existing file without content, such as ``mktemp`` creates."""
    return path.is_file() and path.stat().st_size == 0


def _open(path: Path, mode: str, locking: bool | str) -> h5py.File:
    """Open an HDF5 file; errors of h5py become readable."""
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
            raise OSError(f"{path} is open in this process: close the HeadCache that reads it") from error
        raise OSError(f"cannot open {path}: {os_error_message(error)}") from error


def _check(file: h5py.File, path: Path) -> None:
    """Check that an HDF5 file is a head cache of a known version, with the structure of one."""
    with damage_as_value_error(path):
        is_cache = is_head_cache(file)
        version = read_version(file) if is_cache else 0
        if is_cache and version <= FORMAT_VERSION:
            check_structure(file, version, path.stat().st_size)
    if not is_cache:
        raise ValueError(f"{path} is an HDF5 file, but not a head cache")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, but this calm reads up to {FORMAT_VERSION}: update calm"
        )


@contextlib.contextmanager
def damage_as_value_error(path: Path) -> Iterator[None]:
    """Turn errors of reading a cache into one-line errors that name the file.

    Raises
    ------
    ValueError
        If the file is damaged.
    OSError
        If the operating system cannot read it.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, OverflowError, NotImplementedError) as error:
        if isinstance(error, OSError) and (error.errno or "errno" in str(error)):  # from the operating system
            raise OSError(f"cannot read {path}: {os_error_message(error)}") from error
        raise ValueError(f"{path} is damaged: {os_error_message(error)}") from error


def os_error_message(error: Exception) -> str:
    """Extract the operating system's message from an error of HDF5."""
    match = re.search(r"error message = '([^']*)'", str(error))
    return match.group(1) if match else " ".join(str(error).split())
