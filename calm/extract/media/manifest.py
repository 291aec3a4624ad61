"""Read manifests: CSV, TSV, JSON and JSONL files that list clips."""

from __future__ import annotations

import csv
import io
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from calm.extract.media.clip import Clip, Columns, format_clip_name, replace_surrogates
from calm.extract.media.file import open_regular, path_exists

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

#: Number of columns that an error message names.
_SHOWN_COLUMNS = 20


def read_manifest(manifest: Path, columns: Columns, root: Path) -> list[Clip]:
    """Read the clips of a manifest, in its own order.

    Parameters
    ----------
    manifest : path
        A CSV, TSV, JSON or JSONL file in UTF-8.
    columns : Columns
        Names of its columns.
    root : path
        Folder to which paths are relative. Paths may be absolute, and ``..`` may lead out of the folder. A URL is
        taken as a path to a missing file.

    Raises
    ------
    FileNotFoundError
        If none of the listed files exists.
    ValueError
        If the manifest cannot be parsed; the message names the manifest and the entry.
    """
    rows = _read_rows(manifest)
    if not rows:
        raise ValueError(f"{manifest} lists no clips")
    names = {name: None for row in rows for name in row}  # a dict keeps the order of first appearance
    column_of = {field.name: _find_column(field.name, columns, tuple(names), manifest) for field in fields(Columns)}
    audio_column = column_of["audio"] or column_of["video"]  # by default, use the soundtrack of the video
    if audio_column is None:
        usual = ", ".join(_USUAL_NAMES["audio"] + _USUAL_NAMES["video"])
        raise ValueError(f"{manifest} has no column of audio files: it has {_format_names(names)}; looked for {usual}")
    clips = [_make_clip(row, column_of, audio_column, root, f"{manifest}, entry {i}") for i, row in enumerate(rows, 1)]
    if not any(path_exists(str(clip.audio)) for clip in clips):
        raise FileNotFoundError(f"none of the {len(clips)} files listed in {manifest} exists, such as {clips[0].audio}")
    return clips


def _read_rows(manifest: Path) -> list[Mapping[str, Any]]:
    """Read the rows of a manifest as dictionaries, and check their structure."""
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
        raise ValueError(f"{manifest} cannot be read as {kind}: {_describe_error(error)}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{manifest} must contain a list of objects, one per clip")
    for i, row in enumerate(rows, 1):
        if None in row:
            raise ValueError(f"{manifest}, entry {i} has more cells than the header has columns")
        if any("\0" in text for text in _iterate_texts(row)):
            raise ValueError(f"{manifest}, entry {i} contains a NUL character: expected UTF-8 text")
    return rows


def _iterate_texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value, without recursion: it may be nested deeply."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item


def _describe_error(error: Exception) -> str:
    """Give a reason for exceptions whose own text does not help."""
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
    """Return the name that the user gave for a field, or the first usual name that the manifest has."""
    given_name = getattr(columns, field)
    if given_name is not None:
        if given_name not in names:
            raise ValueError(f"{manifest} has no column {given_name!r}: it has {_format_names(names)}")
        return given_name
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in _USUAL_NAMES[field] if name in by_lower), None)


def _format_names(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:_SHOWN_COLUMNS]) + (" …" if len(shown) > _SHOWN_COLUMNS else "")


def _make_clip(
    row: Mapping[str, Any], column_of: Mapping[str, str | None], audio_column: str, root: Path, where: str
) -> Clip:
    """Make a clip of one row."""
    file = row.get(audio_column) or row.get(column_of["video"] or audio_column)  # by default, the video's soundtrack
    if not isinstance(file, str) or not file:
        raise ValueError(f"{where}: column {audio_column!r} has no file name")

    def get_cell(field: str) -> Any:
        column = column_of[field]
        value = None if column is None else row.get(column)
        return None if value is None or value == "" else value

    def get_text(field: str) -> str | None:
        value = get_cell(field)
        if isinstance(value, list | dict):
            raise ValueError(f"{where}: {column_of[field]!r} must be one value, not {reprlib.repr(value)}")
        return None if value is None else replace_surrogates(str(value)).strip() or None

    video = get_text("video")
    return Clip(
        audio=root / file,  # an absolute path stays as it is
        video=None if video is None else root / video,
        name=_name_relative_to(root, Path(file)),
        label=get_text("label"),
        split=get_text("split"),
        group=get_text("group"),
        question=get_text("question"),
        options=_parse_options(get_cell("options"), where),
    )


def _name_relative_to(root: Path, file: Path) -> str:
    """Name a file by its path relative to the root, so that the data may be moved."""
    return format_clip_name(file.relative_to(root) if file.is_absolute() and file.is_relative_to(root) else file)


def _parse_options(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, Mapping):  # {"A": "dog", "B": "rain"}
        return tuple(f"{replace_surrogates(key)}. {_parse_option(option, where)}" for key, option in value.items())
    return tuple(_parse_option(option, where) for option in (value if isinstance(value, list) else [value]))


def _parse_option(value: Any, where: str) -> str:
    if isinstance(value, list | dict):
        raise ValueError(f"{where}: an option must be one value, not {reprlib.repr(value)}")
    return replace_surrogates(str(value))
