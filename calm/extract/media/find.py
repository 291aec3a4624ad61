"""Finding clips: folders of classes, AudioFolder layouts, manifests, and lists in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calm.extract.media.audio import Audio
from calm.extract.media.clip import CLIP_SUFFIXES, Clip, Columns, name_of
from calm.extract.media.content import content_if_readable
from calm.extract.media.file import check_regular
from calm.extract.media.manifest import MANIFEST_SUFFIXES, clips_in_manifest
from calm.extract.media.video import VIDEO_SUFFIXES
from calm.extract.media.walk import files_below

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

    Parameters
    ----------
    source : path or sequence
        - a folder with one sub-folder a class, which may lie in a folder for each split (``train/dog/1.wav``); a sound
          and a video of one name (``1.wav``, ``1.mp4``) are one clip; links to files and folders are followed, hidden
          files and folders are passed over;
        - a folder in Hugging Face's AudioFolder layout, with ``metadata.csv`` or ``metadata.jsonl``, which wins over
          the names of folders;
        - a CSV, TSV, JSON (a list of objects) or JSONL manifest; the JSON published with CALM is one. Its files may lie
          anywhere, also at absolute paths and above its folder; a URL names no file that is there;
        - one audio or video file;
        - a list of paths, arrays, or ``(array, rate)`` pairs.
    labels : sequence, default=None
        Of a list in memory, one a clip; kept as text.
    columns : Columns, default=None
        What a manifest's columns are called.
    root : path, default=None
        Where a manifest's paths start; its own folder otherwise.

    Returns
    -------
    list of Clip
        In order of name for a folder, in the manifest's own order otherwise.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file, or none of a manifest's files is there.
    OSError
        If it is neither a folder nor a regular file. What a manifest or list names is looked at when it is read: each
        fails for itself.
    ValueError
        If nothing in it is audio, a manifest cannot be understood, or labels do not go with the clips.

    Examples
    --------
    >>> find_clips(["bark.wav"], labels=["dog"])[0].label
    'dog'
    """
    if isinstance(source, str | Path):
        if labels is not None:
            raise ValueError("labels go with a list of clips; a folder or manifest brings its own")
        return _clips_at(Path(source), columns or Columns(), None if root is None else Path(root))
    if labels is None:
        labels = [None] * len(source)
    if len(labels) != len(source):
        raise ValueError(f"{len(source)} clips, but {len(labels)} labels")
    return [
        Clip(audio, _name_in_memory(audio, i), label=None if label is None else str(label))
        for i, (audio, label) in enumerate(zip(source, labels, strict=True))
    ]


def _clips_at(path: Path, columns: Columns, root: Path | None) -> list[Clip]:
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.is_dir() and root is not None:
        raise ValueError(f"a root is for a manifest's paths, and {path} is a folder")
    if path.is_dir():
        return _clips_in_folder(path, columns)
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return clips_in_manifest(path, columns, root or path.parent)
    check_regular(path, path.stat().st_mode)
    _check_no_columns(columns, path)
    return [Clip(path, name_of(path))]


def _name_in_memory(audio: Audio, index: int) -> str:
    """Name an array by its place and its samples, so that other samples are another clip."""
    if isinstance(audio, str | Path):
        return name_of(Path(audio))
    digest = content_if_readable(audio).digest
    return f"clip {index} ({digest.hex()[:8]})" if digest else f"clip {index}"


def _clips_in_folder(folder: Path, columns: Columns) -> list[Clip]:
    split_folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in _SPLIT_FOLDERS]
    if metadata := _metadata_of(folder):
        return clips_in_manifest(metadata, columns, folder)
    by_split = {p: _metadata_of(p) for p in split_folders}
    if by_split and all(by_split.values()):
        return [
            replace(clip, name=f"{p.name}/{clip.name}", split=clip.split or p.name)
            for p, metadata in by_split.items()
            if metadata is not None
            for clip in clips_in_manifest(metadata, columns, p)
        ]
    _check_no_columns(columns, folder)
    files = files_below(folder, CLIP_SUFFIXES, split_folders)
    if not files:
        suffixes = ", ".join(sorted(CLIP_SUFFIXES))
        raise ValueError(f"no audio in {folder}: no file there or below ends in {suffixes}")
    pictures = _pictures_beside(files)
    paired = set(pictures.values())
    splits = {p.name for p in split_folders}
    in_folders = [p.relative_to(folder).parts[0] for p in files if p.parent != folder]
    only_splits = bool(splits) and set(in_folders) <= splits
    return [replace(_clip_by_folder(p, folder, only_splits), video=pictures.get(p)) for p in files if p not in paired]


def _pictures_beside(files: Iterable[Path]) -> dict[Path, Path]:
    """Pair sounds and videos of one name in one folder: sound that was taken out of a video is the same clip."""
    by_name: dict[Path, list[Path]] = {}
    for path in files:
        by_name.setdefault(path.with_suffix(""), []).append(path)
    pairs = {}
    for same in by_name.values():
        videos = [path for path in same if path.suffix.lower() in VIDEO_SUFFIXES]
        sounds = [path for path in same if path not in videos]
        if len(videos) == len(sounds) == 1:
            pairs[sounds[0]] = videos[0]
    return pairs


def _check_no_columns(columns: Columns, path: Path) -> None:
    """Refuse names of columns where there are none: a user must not believe that, say, groups are kept apart."""
    if columns != Columns():
        raise ValueError(f"columns are named, but {path} has no metadata.csv, .tsv or .jsonl to have them")


def _metadata_of(folder: Path) -> Path | None:
    return next((folder / name for name in _METADATA_NAMES if (folder / name).is_file()), None)


def _clip_by_folder(path: Path, folder: Path, under_splits: bool) -> Clip:
    above = list(path.relative_to(folder).parts[:-1])
    split = above.pop(0) if under_splits and above else None
    label = name_of(Path(above[0])) if above else None
    return Clip(path, name_of(path.relative_to(folder)), label=label, split=split)
