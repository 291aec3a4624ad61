"""Find clips in class folders, AudioFolder layouts, manifests, and lists in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calm.extract.media.audio import Audio
from calm.extract.media.clip import CLIP_SUFFIXES, Clip, Columns, format_clip_name
from calm.extract.media.content import compute_content_if_readable
from calm.extract.media.file import check_regular
from calm.extract.media.manifest import MANIFEST_SUFFIXES, read_manifest
from calm.extract.media.video import VIDEO_SUFFIXES
from calm.extract.media.walk import list_files_below

_METADATA_NAMES = tuple(f"metadata{suffix}" for suffix in (".csv", ".tsv", ".jsonl"))
_SPLIT_FOLDERS = frozenset(
    ("train", "training", "support", "valid", "validation", "val", "dev", "test", "testing", "eval", "evaluation")
)


def find_clips(
    source: str | Path | Sequence[Audio],
    labels: Sequence[Any] | None = None,
    *,
    columns: Columns | None = None,
    root: str | Path | None = None,
) -> list[Clip]:
    """List the clips of a folder, a manifest, one audio file, or a list in memory.

    Files are not opened here, except the manifest. A file that is missing or damaged fails when it is decoded, and does
    not stop the other clips.

    Parameters
    ----------
    source : path or sequence
        One of:

        - a folder with one sub-folder per class (``dog/1.wav``), or with one folder per split that holds the class
          folders (``train/dog/1.wav``). An audio file and a video file of the same name (``1.wav``, ``1.mp4``) form
          one clip. Links are followed; hidden files and folders are skipped;
        - a folder in Hugging Face's AudioFolder layout, with ``metadata.csv``, ``.tsv`` or ``.jsonl``. Its labels take
          precedence over folder names;
        - a CSV, TSV, JSON (a list of objects) or JSONL manifest, including the JSON files published with CALM. Its
          paths may be absolute or lead outside its folder. URLs are not downloaded;
        - one audio or video file;
        - a list of paths, arrays, or ``(array, sampling_rate)`` pairs.
    labels : sequence of shape (n_clips,), default=None
        Labels of a list in memory, one per clip; None for a clip without a label. They are converted to str.
    columns : Columns, default=None
        Names of the manifest's columns. By default, the usual names are tried.
    root : path, default=None
        Folder to which paths in a manifest are relative. By default, the manifest's own folder.

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
        If a folder contains no audio, a manifest cannot be parsed, or the labels do not match the clips.

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
    >>> clips = find_clips([np.zeros(16000), "bark.wav"], labels=["rain", "dog"])
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
    if isinstance(source, str | Path):
        if labels is not None:
            raise ValueError("labels can be given only for a list of clips: a folder or manifest has its own labels")
        return _find_clips_at(Path(source), columns or Columns(), None if root is None else Path(root))
    if labels is None:
        labels = [None] * len(source)
    if len(labels) != len(source):
        raise ValueError(f"{len(source)} clips, but {len(labels)} labels: give one label per clip")
    return [
        Clip(audio, _name_clip_in_memory(audio, i), label=None if label is None else str(label))
        for i, (audio, label) in enumerate(zip(source, labels, strict=True))
    ]


def _find_clips_at(path: Path, columns: Columns, root: Path | None) -> list[Clip]:
    """Find the clips of a path: a folder, a manifest, or a single file."""
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.is_dir() and root is not None:
        raise ValueError(f"root applies to the paths of a manifest, but {path} is a folder")
    if path.is_dir():
        return _find_clips_in_folder(path, columns)
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return read_manifest(path, columns, root or path.parent)
    check_regular(path, path.stat().st_mode)
    _check_no_columns(columns, path)
    return [Clip(path, format_clip_name(path))]


def _name_clip_in_memory(audio: Audio, index: int) -> str:
    """Name an array by its index and a digest of its samples, so that other samples count as another clip."""
    if isinstance(audio, str | Path):
        return format_clip_name(Path(audio))
    digest = compute_content_if_readable(audio).digest
    return f"clip {index} ({digest.hex()[:8]})" if digest else f"clip {index}"


def _find_clips_in_folder(folder: Path, columns: Columns) -> list[Clip]:
    """Find the clips of a folder, by its metadata file, by those of its splits, or by its class folders."""
    split_folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in _SPLIT_FOLDERS]
    if metadata := _find_metadata(folder):
        return read_manifest(metadata, columns, folder)
    metadata_by_split = {p: _find_metadata(p) for p in split_folders}
    if metadata_by_split and all(metadata_by_split.values()):
        return [
            replace(clip, name=f"{p.name}/{clip.name}", split=clip.split or p.name)
            for p, metadata in metadata_by_split.items()
            if metadata is not None
            for clip in read_manifest(metadata, columns, p)
        ]
    _check_no_columns(columns, folder)
    files = list_files_below(folder, CLIP_SUFFIXES, split_folders)
    if not files:
        suffixes = ", ".join(sorted(CLIP_SUFFIXES))
        raise ValueError(
            f"no audio files found in {folder}: expected one sub-folder per class, with files ending in {suffixes}"
        )
    return _label_by_folder(files, folder, {p.name for p in split_folders})


def _label_by_folder(files: Sequence[Path], folder: Path, splits: set[str]) -> list[Clip]:
    """Make clips of files, with labels from their class folders, and splits if all top folders are splits."""
    video_of = _pair_audio_with_video(files)
    paired_videos = set(video_of.values())
    top_folders = {p.relative_to(folder).parts[0] for p in files if p.parent != folder}
    has_split_folders = bool(splits) and top_folders <= splits
    return [
        replace(_label_clip(p, folder, has_split_folders), video=video_of.get(p))
        for p in files
        if p not in paired_videos
    ]


def _pair_audio_with_video(files: Iterable[Path]) -> dict[Path, Path]:
    """Pair audio and video files of the same name: audio that was extracted from a video is the same clip."""
    by_stem: dict[Path, list[Path]] = {}
    for path in files:
        by_stem.setdefault(path.with_suffix(""), []).append(path)
    pairs = {}
    for same_stem in by_stem.values():
        videos = [path for path in same_stem if path.suffix.lower() in VIDEO_SUFFIXES]
        audios = [path for path in same_stem if path not in videos]
        if len(videos) == len(audios) == 1:
            pairs[audios[0]] = videos[0]
    return pairs


def _check_no_columns(columns: Columns, path: Path) -> None:
    """Reject column names where there is no manifest: otherwise a user may believe that groups are kept apart."""
    if columns != Columns():
        raise ValueError(f"column names are given, but {path} has no metadata.csv, .tsv or .jsonl")


def _find_metadata(folder: Path) -> Path | None:
    return next((folder / name for name in _METADATA_NAMES if (folder / name).is_file()), None)


def _label_clip(path: Path, folder: Path, has_split_folders: bool) -> Clip:
    """Make a clip with the label and the split that its parent folders give."""
    parents = list(path.relative_to(folder).parts[:-1])
    split = parents.pop(0) if has_split_folders and parents else None
    label = format_clip_name(Path(parents[0])) if parents else None
    return Clip(path, format_clip_name(path.relative_to(folder)), label=label, split=split)
