"""A clip: its audio or video, its name, and its metadata."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

from calm.extract.media.audio import Audio
from calm.extract.media.video import VIDEO_SUFFIXES, VideoSource
from calm.options import document_options, option

#: Suffixes of audio files to look for in a folder. Only PyAV can read the last row. Without PyAV, such a file is still
#: found and then reported as unreadable, instead of being skipped silently.
AUDIO_SUFFIXES = frozenset(
    (
        *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64"),
        *(".rf64", ".wavex"),
        *(".m4a", ".aac", ".wma"),
    )
)

#: Suffixes of all files to look for in a folder.
CLIP_SUFFIXES = AUDIO_SUFFIXES | VIDEO_SUFFIXES


@dataclass(frozen=True)
class Clip:
    """Audio or video of one clip, with its name and metadata.

    Parameters
    ----------
    audio : path, array, or tuple of (array, int)
        An audio or video file; or samples of shape (n_samples,) or (n_samples, n_channels), at the model's sampling
        rate or paired with their own rate in Hz. See :func:`calm.extract.read_waveform`.
    name : str
        Name in caches and messages. For files, the path relative to the root folder of the data.
    label : str, default=None
        Class label.
    split : str, default=None
        Name of the split, such as "train" or "test".
    group : str, default=None
        Recording, speaker or fold. Clips of one group are never on both sides of a split.
    question : str, default=None
        Question to ask the model about this clip. None means the question of the prompt.
    options : tuple of str, default=None
        Answer options for the prompt. None means the labels of all clips.
    video : path, or tuple of (array, float), default=None
        A video file, or frames of shape (n_frames, height, width, 3) in uint8 and their frame rate. None means that
        the frames, if any, are in the file of ``audio``.

    See Also
    --------
    calm.extract.find_clips : List the clips of a folder, a manifest or a list.
    calm.extract.decode_clip : Decode a clip.

    Examples
    --------
    >>> from calm.extract import Clip
    >>> clip = Clip("data/dog/1.wav", "dog/1.wav", label="dog", group="recording 7")
    >>> clip.label, clip.split
    ('dog', None)
    """

    audio: Audio
    name: str
    label: str | None = None
    split: str | None = None
    group: str | None = None
    question: str | None = None
    options: tuple[str, ...] | None = None
    video: VideoSource | None = None


@document_options()
@dataclass(frozen=True)
class Columns:
    """Names of the columns of a manifest.

    A column that is not named is looked for under its usual names, such as "file_name" for audio and "label" or
    "class" for labels.

    Parameters
    ----------
    {options}

    See Also
    --------
    calm.extract.find_clips : List the clips of a folder, a manifest or a list.
    calm.extract.Clip : Audio or video of one clip, with its name and metadata.

    Examples
    --------
    >>> from calm.extract import Columns
    >>> Columns(label="species", group="recorder_id")
    Columns(audio=None, label='species', split=None, group='recorder_id', question=None, options=None, video=None)
    """

    panel: ClassVar[str] = "Manifest"

    audio: str | None = option(None, help="Manifest column with audio files.", flags=("--audio-column",))
    label: str | None = option(None, help="Manifest column with labels.", flags=("--label-column",))
    split: str | None = option(None, help="Manifest column with splits (train, test).", flags=("--split-column",))
    group: str | None = option(
        None,
        help="Manifest column with groups (recording, speaker, fold). Clips of one group stay on one side of a split.",
        flags=("--group-column",),
    )
    question: str | None = option(None, help="Manifest column with questions.", flags=("--question-column",))
    options: str | None = option(None, help="Manifest column with answer options.", flags=("--options-column",))
    video: str | None = option(
        None,
        help="Manifest column with video files. Their soundtrack is used where there is no audio column.",
        flags=("--video-column",),
    )


def format_clip_name(path: Path) -> str:
    """Write a path with slashes; bytes that are not valid text are escaped, so that different names stay different."""
    text = path.as_posix()
    try:
        text = os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # from a manifest: no file can have this name
        text = replace_surrogates(text)
    return text.replace("\0", "�")


def replace_surrogates(value: str) -> str:
    """Replace lone surrogates, which JSON may contain and UTF-8 cannot store, by �.

    Examples
    --------
    >>> replace_surrogates("d" + chr(0xD800) + "g")
    'd�g'
    """
    return re.sub("[\ud800-\udfff]", "�", value)


def is_missing(value: Any) -> bool:
    """Return whether a label or another value is None, NaN or a missing value of pandas.

    Examples
    --------
    >>> [is_missing(value) for value in (None, float("nan"), "nan", 0)]
    [True, True, False, False]
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas need not be installed
        return True
    return isinstance(value, Real) and bool(value != value)
