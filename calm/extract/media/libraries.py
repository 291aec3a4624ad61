"""Turn exceptions of media libraries into failures of one clip, with a readable reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: Reasons for exceptions whose own text does not help a user; the first matching type counts.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (MemoryError, "not enough memory"),
    (UnicodeError, "it contains text in an unknown encoding"),
    (ArithmeticError, "it contains an invalid number"),  # ZeroDivisionError of times, OverflowError of sizes
    (NotImplementedError, "its format is not supported"),
    (LookupError, "its format is unknown"),  # IndexError, KeyError: names and channels that PyAV does not have
    (AssertionError, "its data is inconsistent"),
)


@contextmanager
def wrap_library_errors(failure: type[ValueError], what: str) -> Iterator[None]:
    """Raise ``failure`` in place of any exception of soundfile, soxr or PyAV.

    Wrap only calls of these libraries: an exception of our own code is a bug and must stay visible.

    Parameters
    ----------
    failure : type
        :class:`~calm.extract.AudioError` or :class:`~calm.extract.VideoError`.
    what : str
        What failed; the message begins with it.
    """
    try:
        yield
    except Exception as error:  # the content of a file decides which exception these libraries raise
        raise failure(f"{what}: {describe_error(error)}") from error


def describe_error(error: Exception) -> str:
    r"""Describe the exception of a library in one line.

    Examples
    --------
    >>> describe_error(ZeroDivisionError("Fraction(1, 0)")), describe_error(ValueError("no frames\n"))
    ('it contains an invalid number', 'no frames')
    """
    known_reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)
    # error_string (libsndfile) and strerror (FFmpeg) leave out the path
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or known_reason or str(error)
    return " ".join(str(text).split()).rstrip(".") or type(error).__name__
