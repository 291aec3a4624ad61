"""Text of other people on a terminal: what it would obey is shown instead."""

from __future__ import annotations

import re

#: Characters that a terminal obeys, or that hide: controls, ends of lines and paragraphs, directions of writing, halves
#: of surrogate pairs, and what has no width and shows nothing.
_UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)

#: Joiners of a script or of an emoji stand between two of its characters; elsewhere they only hide.
_SEEN = f"[^\x00-\x7f{_UNSEEN}]"

#: England's flag and its like are spelled in tags; a joiner that is in place; and all that is to be escaped.
_TO_ESCAPE = re.compile(
    f"(\U0001f3f4[\U000e0020-\U000e007e]{{1,8}}\U000e007f|(?<={_SEEN})[\u200c\u200d](?={_SEEN}))|[{_UNSEEN}]"
)


def escape_unprintable(text: str) -> str:
    r"""Write what a terminal would obey, or not show, as escapes; leave all else as it is.

    File names, labels and what errors quote are other people's: they must not move the cursor, write over what was
    said, or begin a line of their own.

    Examples
    --------
    >>> escape_unprintable("dog\n\x1b[2Jcat") == r"dog\n\x1b[2Jcat", escape_unprintable("naïve 犬 👩‍🚀")
    (True, 'naïve 犬 👩‍🚀')
    """
    return _TO_ESCAPE.sub(lambda found: found[1] or found[0].encode("unicode_escape").decode(), text)
