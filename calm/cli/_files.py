"""Open the files that commands read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calm.cli._shared import format_count, print_line

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.extract import HeadCache

#: Default names of the files that one command writes and the next one reads.
CACHE = Path("heads.h5")
CLASSIFIER = Path("calm.safetensors")


def open_cache(path: Path) -> HeadCache:
    """Open a head cache.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is a classifier, or :class:`calm.HeadCache` does not accept it.
    """
    from calm import HeadCache
    from calm.classifiers.file import is_classifier_file

    _check_exists(path, CACHE, "calm extract")
    if is_classifier_file(path):
        raise ValueError(f"{path} is a fitted classifier: this command needs a head cache, from calm extract")
    return HeadCache(path)


def warn_of_missing_vectors(cache: HeadCache) -> None:
    """Warn about the clips of a head cache that have no head vectors: commands leave them out."""
    n_missing = len(cache) - len(cache.done)
    if n_missing:
        missing_classes = {*cache.labels.tolist()} - {*cache.labels[cache.done].tolist()} - {""}
        classes = f"; classes without any: {', '.join(sorted(missing_classes))}" if missing_classes else ""
        print_line(
            f"warning: {n_missing} of {format_count(len(cache), 'clip')} of {cache.path} have no head vectors "
            f"(failed or not extracted yet){classes}",
            err=True,
        )


def load_classifier(path: Path) -> HeadClassifier:
    """Load a fitted classifier.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is a head cache, or :func:`calm.load` does not accept it.
    """
    from calm import load

    _check_exists(path, CLASSIFIER, "calm fit")
    if is_hdf5(path):
        raise ValueError(f"{path} is a head cache: -c needs a fitted classifier, from calm fit")
    return load(path)


def is_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, which is the format of head caches; it may be truncated."""
    import h5py

    return path.is_file() and bool(h5py.is_hdf5(path))


def may_be_safetensors(path: Path) -> bool:
    """Return whether a file starts like safetensors, which is the format of classifiers; it may be truncated."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _check_exists(path: Path, default: Path, command: str) -> None:
    """Raise an error if a file does not exist; for the default name, say which command to run first."""
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}" + (f" (run {command} first)" if path == default else ""))
