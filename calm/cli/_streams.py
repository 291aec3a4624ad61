"""Prepare the standard streams, so that they are open and accept any character in any locale."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

#: ASCII replacements for characters that the commands print, for encodings without these characters.
_REPLACEMENTS = str.maketrans({"–": "-", "×": "x", "…": "...", "±": "+-", "·": "-"})


def prepare_streams() -> None:
    """Open closed standard streams on the null device, and replace characters that their encodings lack.

    A closed standard stream must not stay closed. The next file that is opened would get its file descriptor, and
    output of libraries would be written into that file, for example into a head cache.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # open() takes the lowest free file descriptor, which is the one of this stream
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - never closed
    codecs.register_error("ascii-replacement", _replace_characters)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="ascii-replacement")


def _replace_characters(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks by similar ASCII characters, or else by an escape sequence."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    replaced = error.object[error.start : error.end].translate(_REPLACEMENTS)
    return replaced.encode("ascii", "backslashreplace").decode("ascii"), error.end
