"""Print untrusted text on a terminal: control characters are shown as escapes."""

from __future__ import annotations

import re

#: Control characters, line and paragraph separators, bidirectional controls, surrogates, and zero-width or invisible
#: characters.
_UNPRINTABLE = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)

#: A zero-width joiner or non-joiner is legitimate only between two of these: characters of a script, or emoji.
_JOINABLE = f"[^\x00-\x7f{_UNPRINTABLE}]"

#: Group 1 matches what is kept: flags that are spelled in tag characters (England's, for example) and legitimate
#: joiners. All other matches are escaped.
_TO_ESCAPE = re.compile(
    f"(\U0001f3f4[\U000e0020-\U000e007e]{{1,8}}\U000e007f|(?<={_JOINABLE})[\u200c\u200d](?={_JOINABLE}))|[{_UNPRINTABLE}]"
)


def escape_unprintable(text: str) -> str:
    r"""Replace control characters and invisible characters by escapes; keep all other characters.

    File names, labels and quoted error messages are untrusted: they must not move the cursor, overwrite earlier output
    or begin a new line.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text, safe to print on one line.

    Examples
    --------
    >>> escape_unprintable("dog\n\x1b[2Jcat") == r"dog\n\x1b[2Jcat", escape_unprintable("naïve 犬 👩‍🚀")
    (True, 'naïve 犬 👩‍🚀')
    """
    return _TO_ESCAPE.sub(lambda match: match[1] or match[0].encode("unicode_escape").decode(), text)
