"""Opening a head cache's HDF5 file, and telling in plain words why it cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import h5py

FORMAT = "calm head cache"
FORMAT_VERSION = 1


def open_cache_file(path: Path, mode: str, locking: bool | str) -> h5py.File:
    """Open the HDF5 file of a head cache.

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
        If it is not a head cache, is truncated, or was written by a newer version.
    OSError
        If the system cannot open it for another reason.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a head cache")
    try:
        file = h5py.File(path, mode, locking=locking)
    except BlockingIOError:
        raise BlockingIOError(f"{path} is being written by another process") from None
    except PermissionError as error:
        raise PermissionError(f"no permission to {'read' if mode == 'r' else 'write'} {path}") from error
    except OSError as error:
        if "truncated file" in str(error):
            raise ValueError(f"{path} is a truncated HDF5 file: copy or extract it again") from error
        if not h5py.is_hdf5(path):
            raise ValueError(f"{path} is not a head cache") from error
        raise OSError(f"cannot open {path}: {system_words(error)}") from error
    try:
        _check_format(file, path)
    except ValueError:
        file.close()
        raise
    return file


def _check_format(file: h5py.File, path: Path) -> None:
    if file.attrs.get("format") != FORMAT:
        raise ValueError(f"{path} is an HDF5 file, but not a head cache")
    version = int(file.attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise ValueError(f"{path} has format version {version}; this calm reads up to {FORMAT_VERSION}: update calm")


def system_words(error: Exception) -> str:
    """Find the operating system's own words in those of HDF5."""
    found = re.search(r"error message = '([^']*)'", str(error))
    return found.group(1) if found else str(error)
