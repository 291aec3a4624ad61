"""What a clip is: a recording, what it is called, and what is known of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

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

#: What is taken for a clip in a folder.
CLIP_SUFFIXES = AUDIO_SUFFIXES | VIDEO_SUFFIXES


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

    panel: ClassVar[str] = "Manifest"

    audio: str | None = option(None, help="Manifest column of audio files.", flags=("--audio-column",))
    label: str | None = option(None, help="Manifest column of labels.", flags=("--label-column",))
    split: str | None = option(None, help="Manifest column of splits (train, test).", flags=("--split-column",))
    group: str | None = option(
        None,
        help="Manifest column of groups (recording, speaker, fold), which are kept apart.",
        flags=("--group-column",),
    )
    question: str | None = option(None, help="Manifest column of questions.", flags=("--question-column",))
    options: str | None = option(None, help="Manifest column of answer options.", flags=("--options-column",))
    video: str | None = option(
        None,
        help="Manifest column of videos, for their pictures, and their sound where there is no audio column.",
        flags=("--video-column",),
    )


def name_of(path: Path) -> str:
    """Write a path with slashes; bytes of a name that are no text are escaped, so that names stay different."""
    text = path.as_posix()
    try:
        text = os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # of a manifest: no file can be called so
        text = as_text(text)
    return text.replace("\0", "�")


def as_text(value: str) -> str:
    """Make text that can be stored: halves of characters, which JSON may hold, become �.

    Examples
    --------
    >>> as_text("d" + chr(0xD800) + "g")
    'd�g'
    """
    return re.sub("[\ud800-\udfff]", "�", value)
