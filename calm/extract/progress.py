"""Progress of work on clips: a bar on a terminal, or a line now and then without one."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

from calm.extract.result import ClipResult
from calm.terminal import escape_unprintable

if TYPE_CHECKING:
    from calm.extract.models.lalm import LALM

#: Without a terminal, seconds before the first line of progress and between later ones.
_FIRST_SECONDS, _SECONDS_BETWEEN = 30.0, 60.0

#: Seconds before it is said that a model is still being loaded.
_SLOW_LOADING_SECONDS = 10.0


def with_progress(
    batches: Iterable[Sequence[ClipResult]], lalm: LALM, clips: int, *, done: int = 0, shown: bool = True
) -> Iterator[Sequence[ClipResult]]:
    """Yield batches of results and show the number of clips, the rate and the remaining time.

    On a terminal this is a progress bar. If standard error is no terminal, a line is printed to it after 30 s and then
    once a minute.

    Parameters
    ----------
    batches : iterable of sequences of ClipResult
        Results of a model, as :func:`calm.extract.head_vectors` yields them.
    lalm : LALM
        The model, whose name and device are shown.
    clips : int
        Total number of clips.
    done : int, default=0
        Number of clips that were done before.
    shown : bool, default=True
        Whether to show progress.

    Yields
    ------
    sequence of ClipResult
        The batches, unchanged.

    See Also
    --------
    calm.extract.head_vectors : Extract the head vectors of clips, batch by batch.
    calm.extract.collect_results : Collect the results of all batches.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import collect_results, find_clips, head_vectors, load_lalm
    >>> lalm, clips = load_lalm("tiny"), find_clips([np.zeros(16000)], sampling_rate=16000)
    >>> batches = head_vectors(lalm, clips, ["What is it?"])
    >>> collect_results(with_progress(batches, lalm, len(clips))).values.shape
    (1, 6, 8, 32)
    """
    name = escape_unprintable(f"{lalm.name} on {lalm.device.type}")
    if shown and not sys.stderr.isatty():
        yield from _with_lines(batches, name, clips, done)
        return
    with tqdm(total=clips, initial=done, desc=name, unit="clip", disable=not shown) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def _with_lines(
    batches: Iterable[Sequence[ClipResult]], name: str, clips: int, done: int
) -> Iterator[Sequence[ClipResult]]:
    """Yield batches, and print a line of progress to standard error now and then."""
    start, done_at_start = time.monotonic(), done
    next_line = start + _FIRST_SECONDS
    for batch in batches:
        yield batch
        done += len(batch)
        now = time.monotonic()
        if now >= next_line and done < clips:
            next_line = now + _SECONDS_BETWEEN
            print(f"{name}: {_describe(done, clips, (done - done_at_start) / (now - start))}", file=sys.stderr)  # noqa: T201


def _describe(done: int, clips: int, clips_per_second: float) -> str:
    """Describe how many clips are done, how fast, and how long the others take.

    Examples
    --------
    >>> _describe(1200, 5000, 12.34)
    '1,200 of 5,000 clips, 12.3 clips/s, about 5 min left'
    """
    seconds = (clips - done) / clips_per_second
    if seconds < 60:
        left = "less than a minute"
    elif seconds < 3600:
        left = f"about {seconds / 60:.0f} min"
    else:
        left = f"about {seconds / 3600:.1f} h"
    return f"{done:,} of {clips:,} clips, {clips_per_second:.3g} clips/s, {left} left"


@contextmanager
def announce_if_slow(text: str, *, shown: bool = True) -> Iterator[None]:
    """Print a line to standard error if the ``with`` block takes longer than 10 seconds, such as loading a model.

    Parameters
    ----------
    text : str
        The line.
    shown : bool, default=True
        Whether to print it at all.
    """
    timer = threading.Timer(_SLOW_LOADING_SECONDS, lambda: print(escape_unprintable(text), file=sys.stderr, flush=True))  # noqa: T201
    timer.daemon = True
    if shown:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
