"""The files that commands read: opened with advice where the wrong one, or none, is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.extract import HeadCache

#: What one command writes and the next one reads, unless told otherwise.
CACHE = Path("heads.h5")
CLASSIFIER = Path("calm.safetensors")


def open_cache(path: Path) -> HeadCache:
    """Open a head cache.

    Raises
    ------
    FileNotFoundError
        If it is not there; ``calm extract`` makes it.
    ValueError
        If it is a classifier, or what :class:`calm.HeadCache` refuses.
    """
    from calm import HeadCache
    from calm.classifiers.file import is_classifier_file

    _check_there(path, CACHE, "calm extract")
    if is_classifier_file(path):
        raise ValueError(f"{path} is a fitted classifier, where a head cache from calm extract is wanted")
    return HeadCache(path)


def load_classifier(path: Path) -> HeadClassifier:
    """Load a fitted classifier.

    Raises
    ------
    FileNotFoundError
        If it is not there; ``calm fit`` makes it.
    ValueError
        If it is a head cache, or what :func:`calm.load` refuses.
    """
    from calm import load

    _check_there(path, CLASSIFIER, "calm fit")
    if is_hdf5(path):
        raise ValueError(f"{path} is a head cache; -c takes a fitted classifier, from calm fit")
    return load(path)


def is_hdf5(path: Path) -> bool:
    """Tell whether a file is HDF5, as head caches are, whole or not."""
    import h5py

    return path.is_file() and bool(h5py.is_hdf5(path))


def may_be_safetensors(path: Path) -> bool:
    """Tell whether a file begins as safetensors does, as fitted classifiers are, whole or not."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _check_there(path: Path, usual: Path, command: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}" + (f" (run {command} first)" if path == usual else ""))
