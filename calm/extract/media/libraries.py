"""What libraries raise over a clip's content is that clip's failure, told in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: Reasons for exceptions whose own text tells a user nothing; the first that fits counts.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (MemoryError, "memory does not suffice for it"),
    (UnicodeError, "a text in it is in no known encoding"),
    (ArithmeticError, "a number in it makes no sense"),  # ZeroDivisionError of times, OverflowError of sizes
    (NotImplementedError, "its format is not supported"),
    (LookupError, "its format is not known"),  # IndexError, KeyError: names and channels that PyAV does not have
    (AssertionError, "it contradicts itself"),
)


@contextmanager
def library_call(failure: type[ValueError], what: str) -> Iterator[None]:
    """Raise ``failure`` instead of what soundfile, soxr or PyAV raise: put round their calls alone, never round ours.

    Parameters
    ----------
    failure : type
        :class:`~calm.extract.AudioError` or :class:`~calm.extract.VideoError`.
    what : str
        What cannot be done, before the reason.
    """
    try:
        yield
    except Exception as error:  # their content decides what these raise, and nothing of ours is called in between
        raise failure(f"{what}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    r"""Say in one line why a library gave up.

    Examples
    --------
    >>> reason_of(ZeroDivisionError("Fraction(1, 0)")), reason_of(ValueError("no frames\n"))
    ('a number in it makes no sense', 'no frames')
    """
    known = next((words for kind, words in _REASONS if isinstance(error, kind)), None)
    # libsndfile's and FFmpeg's own words, without the path
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or known or str(error)
    return " ".join(str(text).split()).rstrip(".") or type(error).__name__
