"""Finding clips: folders of classes, AudioFolder layouts, manifests, and lists in memory."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from calm.extract.media.audio import Audio
from calm.extract.media.video import VIDEO_SUFFIXES, VideoSource
from calm.options import option

#: What is taken for audio in a folder. The last row is read by PyAV alone; where that is not installed, such a file is
#: found, and then reported as unreadable, rather than passed over in silence.
AUDIO_SUFFIXES = frozenset(
    (
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64"),
        *(".rf64", ".wavex"),
        *(".m4a", ".aac", ".wma"),
    )
)
_MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")
_METADATA_NAMES = tuple(f"metadata{suffix}" for suffix in (".csv", ".tsv", ".jsonl"))
_SPLIT_FOLDERS = frozenset(
    ("train", "training", "support", "valid", "validation", "val", "dev", "test", "testing", "eval", "evaluation")
)


@dataclass(frozen=True)
class Clip:
    """One recording and what is known of it."""

    audio: Audio
    name: str  #: its path below the data's root; what it is called in caches and messages
    label: str | None = None
    split: str | None = None  #: "train", "test" …
    group: str | None = None  #: recording, speaker, fold: never on both sides of a split
    question: str | None = None
    options: tuple[str, ...] | None = None
    video: VideoSource | None = None  #: its pictures, where they are not in the same file


@dataclass(frozen=True)
class Columns:
    """Names of a manifest's columns; those left out are looked for under their usual names."""

    audio: str | None = option(None, about="Manifest column of audio files.", flags=("--audio-column",))
    label: str | None = option(None, about="Manifest column of labels.", flags=("--label-column",))
    split: str | None = option(None, about="Manifest column of splits (train, test).", flags=("--split-column",))
    group: str | None = option(
        None,
        about="Manifest column of groups (recording, speaker, fold), which are kept apart.",
        flags=("--group-column",),
    )
    question: str | None = option(None, about="Manifest column of questions.", flags=("--question-column",))
    options: str | None = option(None, about="Manifest column of answer options.", flags=("--options-column",))
    video: str | None = option(
        None,
        about="Manifest column of videos, for their pictures, and their sound where there is no audio column.",
        flags=("--video-column",),
    )


_USUAL_NAMES = {
    "audio": ("file_name", "audio", "path", "file", "filename", "wav", "audio_path", "clip"),
    "label": ("label", "class", "category", "mapped_label"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "group_id", "speaker", "speaker_id", "recording", "recording_id", "fold"),
    "question": ("question", "prompt"),
    "options": ("options", "choices"),
    "video": ("video", "video_path", "video_file"),
}


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
          and a video of one name (``1.wav``, ``1.mp4``) are one clip;
        - a folder in Hugging Face's AudioFolder layout, with ``metadata.csv`` or ``metadata.jsonl``, which wins over
          the names of folders;
        - a CSV, TSV, JSON (a list of objects) or JSONL manifest; the JSON published with CALM is one;
        - one audio or video file;
        - a list of paths, arrays, or ``(array, rate)`` pairs.
    labels : sequence, optional
        Of a list in memory, one a clip; kept as text.
    columns : Columns, optional
        What a manifest's columns are called.
    root : path, optional
        Where a manifest's paths start; its own folder otherwise.

    Returns
    -------
    list of Clip
        In order of name for a folder, in the manifest's own order otherwise.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file, or none of a manifest's files is there.
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
    if path.suffix.lower() in _MANIFEST_SUFFIXES:
        return _clips_in_manifest(path, columns, root or path.parent)
    _check_no_columns(columns, path)
    return [Clip(path, _as_text(path))]


def _name_in_memory(audio: Audio, index: int) -> str:
    """Name an array by its place and its samples, so that other samples are another clip."""
    if isinstance(audio, str | Path):
        return _as_text(Path(audio))
    samples, rate = audio if isinstance(audio, tuple) else (audio, None)
    digest = hashlib.sha256(np.ascontiguousarray(samples).tobytes() + str(rate).encode()).hexdigest()
    return f"clip {index} ({digest[:8]})"


def _as_text(path: Path) -> str:
    """Write a path with slashes; bytes of a name that are no text become �."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _clips_in_folder(folder: Path, columns: Columns) -> list[Clip]:
    split_folders = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in _SPLIT_FOLDERS]
    if metadata := _metadata_of(folder):
        return _clips_in_manifest(metadata, columns, folder)
    by_split = {p: _metadata_of(p) for p in split_folders}
    if by_split and all(by_split.values()):
        return [
            replace(clip, name=f"{p.name}/{clip.name}", split=clip.split or p.name)
            for p, metadata in by_split.items()
            if metadata is not None
            for clip in _clips_in_manifest(metadata, columns, p)
        ]
    _check_no_columns(columns, folder)
    files = sorted(p for p in folder.rglob("*") if _looks_like_clip(p, folder))
    if not files:
        suffixes = ", ".join(sorted(AUDIO_SUFFIXES | VIDEO_SUFFIXES))
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


def _looks_like_clip(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in AUDIO_SUFFIXES | VIDEO_SUFFIXES and not path.is_dir()


def _clip_by_folder(path: Path, folder: Path, under_splits: bool) -> Clip:
    above = list(path.relative_to(folder).parts[:-1])
    split = above.pop(0) if under_splits and above else None
    label = _as_text(Path(above[0])) if above else None
    return Clip(path, _as_text(path.relative_to(folder)), label=label, split=split)


def _clips_in_manifest(manifest: Path, columns: Columns, root: Path) -> list[Clip]:
    rows = _read_rows(manifest)
    if not rows:
        raise ValueError(f"{manifest} lists no clips")
    names = {name: None for row in rows for name in row}  # keeps the order of first appearance
    found = {field.name: _find_column(field.name, columns, tuple(names), manifest) for field in fields(Columns)}
    audio_column = found["audio"] or found["video"]  # a video's own sound, where there is no other
    if audio_column is None:
        usual = ", ".join(_USUAL_NAMES["audio"] + _USUAL_NAMES["video"])
        raise ValueError(f"{manifest} has no column of audio files: it has {', '.join(names)}; looked for {usual}")
    clips = [_clip_of_row(row, found, audio_column, root, f"{manifest}, entry {i}") for i, row in enumerate(rows, 1)]
    if not any(Path(str(clip.audio)).exists() for clip in clips):
        raise FileNotFoundError(f"none of the {len(clips)} files that {manifest} lists is there: not {clips[0].audio}")
    return clips


def _read_rows(manifest: Path) -> list[Mapping[str, Any]]:
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            if manifest.suffix.lower() == ".jsonl":
                rows: Any = [_read_json_line(line, i) for i, line in enumerate(file, 1) if line.strip()]
            elif manifest.suffix.lower() == ".json":
                rows = json.load(file)
            else:
                rows = list(csv.DictReader(file, delimiter="\t" if manifest.suffix.lower() == ".tsv" else ","))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{manifest} cannot be read as {manifest.suffix[1:]}: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{manifest} must hold a list of objects, one a clip")
    ragged = next((i for i, row in enumerate(rows, 1) if None in row), None)
    if ragged is not None:
        raise ValueError(f"{manifest}, entry {ragged} has more cells than the header has columns")
    return rows


def _read_json_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg}") from error


def _find_column(field: str, columns: Columns, names: Sequence[str], manifest: Path) -> str | None:
    asked = getattr(columns, field)
    if asked is not None:
        if asked not in names:
            raise ValueError(f"{manifest} has no column {asked!r}; it has {', '.join(names)}")
        return asked
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in _USUAL_NAMES[field] if name in by_lower), None)


def _clip_of_row(
    row: Mapping[str, Any], found: Mapping[str, str | None], audio_column: str, root: Path, where: str
) -> Clip:
    file = row.get(audio_column) or row.get(found["video"] or audio_column)  # a video has its own sound
    if not isinstance(file, str) or not file:
        raise ValueError(f"{where}: {audio_column!r} names no file")

    def cell(field: str) -> Any:
        column = found[field]
        value = None if column is None else row.get(column)
        return None if value is None or value == "" else value

    def text(field: str) -> str | None:
        value = cell(field)
        if isinstance(value, list | dict):
            raise ValueError(f"{where}: {found[field]!r} must be one value, not {value!r}")
        return None if value is None else str(value).strip() or None

    video = text("video")
    return Clip(
        audio=root / file,  # an absolute path stays as it is
        video=None if video is None else root / video,
        name=_name_below(root, Path(file)),
        label=text("label"),
        split=text("split"),
        group=text("group"),
        question=text("question"),
        options=_as_options(cell("options")),
    )


def _name_below(root: Path, file: Path) -> str:
    """Name a file by its place below the root, so that a data set may be moved."""
    return _as_text(file.relative_to(root) if file.is_absolute() and file.is_relative_to(root) else file)


def _as_options(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping):  # {"A": "dog", "B": "rain"}
        return tuple(f"{key}. {option}" for key, option in value.items())
    return tuple(str(option) for option in value) if isinstance(value, Iterable) else (str(value),)
