"""List the clips of a folder: by its metadata file, by those of its splits, or by its class folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from calm.extract.media.clip import CLIP_SUFFIXES, Clip, Columns, format_clip_name
from calm.extract.media.manifest import ManifestColumns, read_manifest
from calm.extract.media.repeats import drop_repeats
from calm.extract.media.video import VIDEO_SUFFIXES
from calm.extract.media.walk import list_files_below

_METADATA_NAMES = tuple(f"metadata{suffix}" for suffix in (".csv", ".tsv", ".jsonl"))
_SPLIT_FOLDERS = frozenset(
    ("train", "training", "support", "valid", "validation", "val", "dev", "test", "testing", "eval", "evaluation")
)


def read_folder(folder: Path, columns: Columns) -> tuple[list[Clip], ManifestColumns | None]:
    """List the clips of a folder, with the columns of its metadata if it has any.

    Raises
    ------
    ValueError
        If there are no clips, column names are given but there is no metadata, or the clips contradict each other.
    """
    split_folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in _SPLIT_FOLDERS]
    if metadata := _find_metadata(folder):
        return read_manifest(metadata, columns, folder)
    metadata_by_split = {p: found for p in split_folders if (found := _find_metadata(p)) is not None}
    if metadata_by_split and len(metadata_by_split) == len(split_folders):
        return _read_splits(folder, metadata_by_split, columns)
    check_no_columns(columns, folder)
    files = list_files_below(folder, CLIP_SUFFIXES, split_folders)
    if not files:
        suffixes = ", ".join(sorted(CLIP_SUFFIXES))
        raise ValueError(
            f"no audio files found in {folder}: expected one sub-folder per class, with files ending in {suffixes}"
        )
    clips = _label_by_folder(files, folder, {p.name for p in split_folders})
    return drop_repeats(clips, folder, lambda i: clips[i].name), None


def check_no_columns(columns: Columns, path: Path) -> None:
    """Reject column names where there is no manifest: otherwise a user may believe that groups are kept apart."""
    if columns != Columns():
        raise ValueError(f"column names are given, but {path} has no metadata.csv, .tsv or .jsonl")


def _read_splits(folder: Path, metadata: dict[Path, Path], columns: Columns) -> tuple[list[Clip], ManifestColumns]:
    """Read the metadata files of all split folders; name the clips by their paths in ``folder``."""
    clips: list[Clip] = []
    names: list[str] = []
    used: dict[str, str] = {}
    for split, manifest in metadata.items():
        read, manifest_columns = read_manifest(manifest, columns, split)
        clips += [replace(clip, name=f"{split.name}/{clip.name}", split=clip.split or split.name) for clip in read]
        names += manifest_columns.names
        used |= manifest_columns.used
    return drop_repeats(clips, folder, lambda i: clips[i].name), ManifestColumns(tuple(dict.fromkeys(names)), used)


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


def _find_metadata(folder: Path) -> Path | None:
    return next((folder / name for name in _METADATA_NAMES if (folder / name).is_file()), None)


def _label_clip(path: Path, folder: Path, has_split_folders: bool) -> Clip:
    """Make a clip with the label and the split that its parent folders give."""
    parents = list(path.relative_to(folder).parts[:-1])
    split = parents.pop(0) if has_split_folders and parents else None
    label = format_clip_name(Path(parents[0])) if parents else None
    return Clip(path, format_clip_name(path.relative_to(folder)), label=label, split=split)
