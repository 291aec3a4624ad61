"""Standard streams that are there, and take any text, whatever shell or locale the commands are run from."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

#: How to spell what the commands print on a terminal that lacks the character.
_SPELLED = str.maketrans({"–": "-", "×": "x", "…": "...", "±": "+-", "·": "-"})


def prepare_streams() -> None:
    """Open streams that are closed on nothing, and let those for text spell what their encoding lacks.

    Were a standard stream left closed, the next file would take its number, and whatever libraries print would be
    written into that file: a head cache, perhaps.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the lowest free number is taken, and that is this stream's
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - for good
    codecs.register_error("spell", _spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="spell")


def _spell(error: UnicodeError) -> tuple[str, int]:
    """Spell characters that an encoding lacks, with a number where there is nothing like them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    spelled = error.object[error.start : error.end].translate(_SPELLED)
    return spelled.encode("ascii", "backslashreplace").decode("ascii"), error.end
