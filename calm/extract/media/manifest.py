"""Manifests: rows of a CSV, TSV, JSON or JSONL file to clips."""

from __future__ import annotations

import csv
import io
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from calm.extract.media.clip import Clip, Columns, as_text, name_of
from calm.extract.media.file import is_there, open_regular

MANIFEST_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json")

_USUAL_NAMES = {
    "audio": ("file_name", "audio", "path", "file", "filename", "wav", "audio_path", "clip"),
    "label": ("label", "class", "category", "mapped_label"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "group_id", "speaker", "speaker_id", "recording", "recording_id", "fold"),
    "question": ("question", "prompt"),
    "options": ("options", "choices"),
    "video": ("video", "video_path", "video_file"),
}

#: Of so many columns, an error names the first ones.
_SHOWN_COLUMNS = 20


def clips_in_manifest(manifest: Path, columns: Columns, root: Path) -> list[Clip]:
    """List the clips of a manifest, in its own order.

    Parameters
    ----------
    manifest : path
        In UTF-8.
    columns : Columns
        What its columns are called.
    root : path
        Where its paths start. Absolute ones stay as they are, ``..`` may lead anywhere, and a URL is a path like any
        other: of a file that is not there.

    Raises
    ------
    FileNotFoundError
        If none of its files is there.
    ValueError
        If it cannot be understood; the message names it, and the entry.
    """
    rows = _read_rows(manifest)
    if not rows:
        raise ValueError(f"{manifest} lists no clips")
    names = {name: None for row in rows for name in row}  # keeps the order of first appearance
    found = {field.name: _find_column(field.name, columns, tuple(names), manifest) for field in fields(Columns)}
    audio_column = found["audio"] or found["video"]  # a video's own sound, where there is no other
    if audio_column is None:
        usual = ", ".join(_USUAL_NAMES["audio"] + _USUAL_NAMES["video"])
        raise ValueError(f"{manifest} has no column of audio files: it has {_listed(names)}; looked for {usual}")
    clips = [_clip_of_row(row, found, audio_column, root, f"{manifest}, entry {i}") for i, row in enumerate(rows, 1)]
    if not any(is_there(str(clip.audio)) for clip in clips):
        raise FileNotFoundError(f"none of the {len(clips)} files that {manifest} lists is there: not {clips[0].audio}")
    return clips


def _read_rows(manifest: Path) -> list[Mapping[str, Any]]:
    kind = manifest.suffix[1:].lower()
    try:
        with open_regular(manifest) as binary, io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as file:
            if kind == "jsonl":
                rows: Any = [_read_json_line(line, i) for i, line in enumerate(file, 1) if line.strip()]
            elif kind == "json":
                rows = json.load(file)
            else:
                rows = list(csv.DictReader(file, delimiter="\t" if kind == "tsv" else ","))
    except FileNotFoundError:
        raise
    except (ValueError, OSError, csv.Error, RecursionError, MemoryError) as error:
        raise ValueError(f"{manifest} cannot be read as {kind}: {_in_words(error)}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{manifest} must hold a list of objects, one a clip")
    for i, row in enumerate(rows, 1):
        if None in row:
            raise ValueError(f"{manifest}, entry {i} has more cells than the header has columns")
        if any("\0" in text for text in _texts_in(row)):
            raise ValueError(f"{manifest}, entry {i} holds a NUL character: is it text in UTF-8?")
    return rows


def _texts_in(value: Any) -> Iterator[str]:
    """Find all texts in a value that JSON can hold, however deep it is."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one


def _in_words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, UnicodeError):
        return f"it is not UTF-8: {error}"
    return str(error)


def _read_json_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg}") from error


def _find_column(field: str, columns: Columns, names: Sequence[str], manifest: Path) -> str | None:
    asked = getattr(columns, field)
    if asked is not None:
        if asked not in names:
            raise ValueError(f"{manifest} has no column {asked!r}; it has {_listed(names)}")
        return asked
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in _USUAL_NAMES[field] if name in by_lower), None)


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:_SHOWN_COLUMNS]) + (" …" if len(shown) > _SHOWN_COLUMNS else "")


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
            raise ValueError(f"{where}: {found[field]!r} must be one value, not {reprlib.repr(value)}")
        return None if value is None else as_text(str(value)).strip() or None

    video = text("video")
    return Clip(
        audio=root / file,  # an absolute path stays as it is
        video=None if video is None else root / video,
        name=_name_below(root, Path(file)),
        label=text("label"),
        split=text("split"),
        group=text("group"),
        question=text("question"),
        options=_as_options(cell("options"), where),
    )


def _name_below(root: Path, file: Path) -> str:
    """Name a file by its place below the root, so that a data set may be moved."""
    return name_of(file.relative_to(root) if file.is_absolute() and file.is_relative_to(root) else file)


def _as_options(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):  # {"A": "dog", "B": "rain"}
        return tuple(f"{as_text(key)}. {_option(option, where)}" for key, option in value.items())
    return tuple(_option(option, where) for option in (value if isinstance(value, list) else [value]))


def _option(value: Any, where: str) -> str:
    if isinstance(value, list | dict):
        raise ValueError(f"{where}: an option must be one value, not {reprlib.repr(value)}")
    return as_text(str(value))
