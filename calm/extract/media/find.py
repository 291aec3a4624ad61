"""Find clips in folders, manifests, files, and sequences in memory: one rule for everything that takes clips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from calm.extract.media.audio import AudioError
from calm.extract.media.clip import CLIP_SUFFIXES, Clip, Columns, format_clip_name, is_missing
from calm.extract.media.file import check_regular, describe_missing, expand_user, is_url
from calm.extract.media.folder import check_no_columns, read_folder
from calm.extract.media.in_memory import check_sampling_rate, list_entries, make_clip
from calm.extract.media.manifest import ManifestColumns, read_manifest
from calm.extract.media.table import TABLE_SUFFIXES

#: How to convert other files that list clips; ``{stem}`` is replaced.
_CONVERSIONS = {
    ".parquet": "pandas.read_parquet({name!r}).to_csv({csv!r}, index=False)",
    ".feather": "pandas.read_feather({name!r}).to_csv({csv!r}, index=False)",
    ".arrow": "pandas.read_feather({name!r}).to_csv({csv!r}, index=False)",
    ".xlsx": "pandas.read_excel({name!r}).to_csv({csv!r}, index=False)",
    ".xls": "pandas.read_excel({name!r}).to_csv({csv!r}, index=False)",
    ".ods": "pandas.read_excel({name!r}).to_csv({csv!r}, index=False)",
}
_ARCHIVES = frozenset((".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z", ".rar"))


def find_clips(
    source: str | Path | Iterable[Any],
    labels: Sequence[Any] | NDArray[Any] | None = None,
    *,
    columns: Columns | None = None,
    root: str | Path | None = None,
    sampling_rate: float | None = None,
) -> list[Clip]:
    """List the clips of a folder, a manifest, one audio file, or a list in memory.

    Files are not opened here, except the manifest. A file that is missing or damaged fails when it is decoded, and does
    not stop the other clips.

    Parameters
    ----------
    source : path or sequence
        A path, or a sequence of clips. A path is one of:

        - a folder with one sub-folder per class (``dog/1.wav``), or with one folder per split that holds the class
          folders (``train/dog/1.wav``). An audio file and a video file of the same name (``1.wav``, ``1.mp4``) form
          one clip. Links are followed; hidden files and folders are skipped;
        - a folder in Hugging Face's AudioFolder layout, with ``metadata.csv``, ``.tsv`` or ``.jsonl``. Its labels take
          precedence over folder names;
        - a CSV, TSV, JSON (a list of objects) or JSONL manifest, including the JSON files published with CALM. The
          delimiter of a CSV file may also be a semicolon, a tab or ``|``. Paths may be absolute or lead outside the
          folder of the manifest;
        - one audio or video file.

        A sequence may mix:

        - paths. A folder or a manifest stands for all its clips;
        - :class:`calm.extract.Clip` objects, which keep their names and labels;
        - arrays or lists of samples, or torch tensors, of shape (n_samples,) or (n_samples, n_channels);
        - pairs ``(array, sampling_rate)``;
        - dictionaries with the keys ``array`` and ``sampling_rate``, as Hugging Face datasets give them.

        An array of shape (n_clips, n_samples) is a sequence of clips. For a single clip, pass ``[clip]``.
        A leading ``~`` is expanded to the home folder. URLs are not downloaded.
    labels : sequence of shape (n_clips,), default=None
        Labels of a sequence, one per clip; None, NaN or ``pandas.NA`` for a clip without a label. They are converted to
        str.
    columns : Columns, default=None
        Names of the manifest's columns. By default, the usual names are tried.
    root : path, default=None
        Folder to which paths in a manifest are relative. By default, the manifest's own folder.
    sampling_rate : float, default=None
        Sampling rate in Hz of the arrays that have none. Files and pairs have their own. None means the rate of the
        model that later processes the clips.

    Returns
    -------
    list of Clip
        The clips of a folder in order of path, all others in the order of ``source``.

    Raises
    ------
    FileNotFoundError
        If the folder or file does not exist, or none of the files of a manifest exists.
    OSError
        If ``source`` is neither a folder nor a regular file.
    ValueError
        If ``source`` is a single array or clip, a folder contains no audio, a file is neither audio nor a manifest, a
        manifest cannot be parsed, the labels do not match the clips, or a folder or manifest lists one file with two
        labels, splits or groups.

    Warns
    -----
    UserWarning
        If a folder or manifest lists a file repeatedly, with the same label and question. One clip is kept.

    See Also
    --------
    calm.extract.Clip : Audio or video of one clip, with its name and metadata.
    calm.extract.Columns : Names of the columns of a manifest.
    calm.extract.extract_to_cache : Extract the head vectors of clips into a cache.

    Examples
    --------
    A list in memory:

    >>> import numpy as np
    >>> from calm.extract import find_clips
    >>> clips = find_clips([np.zeros(44100), "bark.wav"], labels=["rain", "dog"], sampling_rate=44100)
    >>> [clip.label for clip in clips], clips[1].name
    (['rain', 'dog'], 'bark.wav')

    A folder with one sub-folder per class:

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("dog/1.wav", "rain/2.wav"):
    ...         path = Path(folder, name)
    ...         path.parent.mkdir()
    ...         path.touch()
    ...     [(clip.name, clip.label) for clip in find_clips(folder)]
    [('dog/1.wav', 'dog'), ('rain/2.wav', 'rain')]
    """
    check_sampling_rate(sampling_rate)
    if isinstance(source, str | PathLike):
        if labels is not None:
            raise ValueError(
                "labels can be given only for a sequence of clips: a folder or manifest has its own labels"
            )
        return find_clips_at(source, columns, root)[0]
    clips = _find_clips_in_sequence(source, columns, root, sampling_rate)
    if labels is None:
        return clips
    if len(labels) != len(clips):
        raise ValueError(f"{len(clips)} clips, but {len(labels)} labels: give one label per clip")
    pairs = zip(clips, labels, strict=True)
    return [clip if is_missing(label) else replace(clip, label=str(label)) for clip, label in pairs]


def find_clips_at(
    path: str | PathLike[str], columns: Columns | None = None, root: str | PathLike[str] | None = None
) -> tuple[list[Clip], ManifestColumns | None]:
    """Find the clips of a path, and the columns that were used if it is a manifest or has metadata.

    The parameters are those of :func:`find_clips`.
    """
    file, columns = expand_user(path), columns or Columns()
    if not str(path) or not file.exists():
        raise FileNotFoundError(describe_missing(file if str(path) else "''", "file or folder"))
    if file.is_dir():
        if root is not None:
            raise ValueError(f"root applies to the paths of a manifest, but {file} is a folder")
        return read_folder(file, columns)
    if file.suffix.lower() in TABLE_SUFFIXES:
        return read_manifest(file, columns, file.parent if root is None else expand_user(root))
    check_regular(file, file.stat().st_mode)
    _check_is_media(file)
    check_no_columns(columns, file)
    return [Clip(file, format_clip_name(file))], None


def _find_clips_in_sequence(
    source: Any, columns: Columns | None, root: str | Path | None, sampling_rate: float | None
) -> list[Clip]:
    """Make one clip of each entry; a folder or a manifest stands for all its clips, which are named by their paths."""
    clips: list[Clip] = []
    has_columns = False
    for i, entry in enumerate(list_entries(source)):
        if isinstance(entry, str | PathLike) and _lists_clips(entry):
            found, manifest_columns = find_clips_at(entry, columns, root)
            has_columns = has_columns or manifest_columns is not None
            clips += [replace(clip, name=_name_by_path(clip)) for clip in found]
        else:
            clips.append(make_clip(entry, i, sampling_rate))
    if columns not in (None, Columns()) and not has_columns:
        raise ValueError("column names are given, but there is no manifest")
    return clips


def _lists_clips(entry: str | PathLike[str]) -> bool:
    """Return whether a path is a folder or a manifest. Files with the usual suffixes of media are not looked up."""
    path = expand_user(entry)
    suffix = path.suffix.lower()
    if not str(entry) or suffix in CLIP_SUFFIXES:
        return False
    return path.is_dir() or (suffix in TABLE_SUFFIXES and path.is_file())


def _name_by_path(clip: Clip) -> str:
    """Name a clip of a file by its whole path: the clips may come from several folders."""
    return clip.name if is_url(clip.name) else format_clip_name(Path(str(clip.audio)))


def _check_is_media(path: Path) -> None:
    """Refuse a file that is neither media nor a manifest; a file with an unusual suffix may be audio."""
    if path.suffix.lower() in CLIP_SUFFIXES:
        return
    from calm.extract.media import sndfile

    try:
        with sndfile.open_sound(path, AudioError):
            return
    except AudioError as error:
        raise ValueError(f"{path} is neither audio nor a manifest in CSV, TSV, JSON or JSONL{_advise(path)}") from error


def _advise(path: Path) -> str:
    """Say how to convert a file."""
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        return ": unpack it first"
    if suffix in _CONVERSIONS:
        call = _CONVERSIONS[suffix].format(name=path.name, csv=f"{path.stem}.csv")
        return f": convert it, for example with {call}"
    return ""
