"""Read manifests: tables that list clips, with their labels, splits, groups and questions."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from calm.extract.media.clip import Clip, Columns, format_clip_name, is_missing, replace_surrogates
from calm.extract.media.file import describe_missing, expand_user, is_url, path_exists
from calm.extract.media.repeats import drop_repeats
from calm.extract.media.table import Row, read_rows

_USUAL_NAMES = {
    "audio": ("file_name", "audio", "path", "file", "filename", "wav", "audio_path", "clip"),
    "label": ("label", "class", "category", "mapped_label"),
    "split": ("split", "subset", "partition"),
    "group": ("group", "group_id", "speaker", "speaker_id", "recording", "recording_id", "fold"),
    "question": ("question", "prompt"),
    "options": ("options", "choices"),
    "video": ("video", "video_path", "video_file"),
}

_AUDIO_NAMES = _USUAL_NAMES["audio"] + _USUAL_NAMES["video"]

#: Number of columns that a message names, and the maximum length of each name.
_SHOWN_COLUMNS, _SHOWN_NAME = 20, 40


@dataclass(frozen=True)
class ManifestColumns:
    """Columns of a manifest, and which of them were used for what.

    Examples
    --------
    >>> ManifestColumns(("file", "species", "fold"), {"audio": "file", "label": "species"}).describe()
    'audio from file, label from species'
    >>> ManifestColumns(("file", "species"), {"audio": "file"}).describe()
    'audio from file; no label column among file, species: name one with --label-column'
    """

    names: tuple[str, ...]  #: all columns
    used: Mapping[str, str]  #: column by field of :class:`~calm.extract.Columns`; fields without a column are left out

    def describe(self) -> str:
        """Describe in one line which column was used for what."""
        described = ", ".join(f"{field} from {name}" for field, name in self.used.items())
        if "label" in self.used:
            return described
        return f"{described}; no label column among {_format_names(self.names)}: name one with --label-column"


def read_manifest(manifest: Path, columns: Columns, root: Path) -> tuple[list[Clip], ManifestColumns]:
    """Read the clips of a manifest, in its own order.

    Parameters
    ----------
    manifest : path
        A CSV, TSV, JSON or JSONL file.
    columns : Columns
        Names of its columns.
    root : path
        Folder to which paths are relative. Paths may be absolute, and ``..`` may lead out of the folder. A URL fails
        when its clip is decoded.

    Returns
    -------
    clips : list of Clip
        The clips, without repeats.
    columns : ManifestColumns
        The columns that were used.

    Raises
    ------
    FileNotFoundError
        If none of the listed files exists.
    ValueError
        If the manifest cannot be parsed, or contradicts itself; the message names the manifest and the entry.
    """

    def has_audio_column(names: Sequence[str]) -> bool:
        wanted = [name for name in (columns.audio, columns.video) if name is not None]
        lower = {name.lower() for name in names}
        return all(name in names for name in wanted) if wanted else not lower.isdisjoint(_AUDIO_NAMES)

    rows = read_rows(manifest, has_audio_column)
    if not rows:
        raise ValueError(f"{manifest} lists no clips")
    names = tuple(dict.fromkeys(name for row in rows for name in row))  # a dict keeps the order of first appearance
    column_of = {field.name: _find_column(field.name, columns, names, manifest) for field in fields(Columns)}
    audio_column = column_of["audio"] or column_of["video"]  # by default, use the soundtrack of the video
    if audio_column is None:
        raise ValueError(
            f"{manifest} has no column of audio files: it has {_format_names(names)}; looked for "
            f"{', '.join(_AUDIO_NAMES)}"
        )
    clips = [_make_clip(row, column_of, audio_column, root, f"{manifest}, entry {i}") for i, row in enumerate(rows, 1)]
    if not any(path_exists(str(clip.audio)) for clip in clips):
        raise FileNotFoundError(_describe_none_found(clips, manifest))
    used = {field: name for field, name in column_of.items() if name is not None}
    return drop_repeats(clips, manifest, lambda i: f"entry {i + 1} ({clips[i].name})"), ManifestColumns(names, used)


def _describe_none_found(clips: Sequence[Clip], manifest: Path) -> str:
    first = clips[0].audio
    if is_url(str(first)):
        return f"none of the {len(clips)} files listed in {manifest} exists: {describe_missing(str(first))}"
    return f"none of the {len(clips)} files listed in {manifest} exists, such as {first}"


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
    shown = [name if len(name) <= _SHOWN_NAME else f"{name[:_SHOWN_NAME]}…" for name in names]
    return ", ".join(shown[:_SHOWN_COLUMNS]) + (" …" if len(shown) > _SHOWN_COLUMNS else "")


def _make_clip(row: Row, column_of: Mapping[str, str | None], audio_column: str, root: Path, where: str) -> Clip:
    """Make a clip of one row."""
    file = row.get(audio_column) or row.get(column_of["video"] or audio_column)  # by default, the video's soundtrack
    if not isinstance(file, str) or not file:
        raise ValueError(f"{where}: column {audio_column!r} has no file name")

    def get_cell(field: str) -> Any:
        column = column_of[field]
        value = None if column is None else row.get(column)
        return None if is_missing(value) or value == "" else value

    def get_text(field: str) -> str | None:
        value = get_cell(field)
        if isinstance(value, list | dict):
            raise ValueError(f"{where}: {column_of[field]!r} must be one value, not {reprlib.repr(value)}")
        return None if value is None else replace_surrogates(str(value)).strip() or None

    video = get_text("video")
    return Clip(
        audio=_locate(file, root),
        video=None if video is None else _locate(video, root),
        name=replace_surrogates(file) if is_url(file) else _name_relative_to(root, expand_user(file)),
        label=get_text("label"),
        split=get_text("split"),
        group=get_text("group"),
        question=get_text("question"),
        options=_parse_options(get_cell("options"), where),
    )


def _locate(file: str, root: Path) -> str | Path:
    """Return the path of a file; an absolute path and a URL stay as they are."""
    return file if is_url(file) else root / expand_user(file)


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
