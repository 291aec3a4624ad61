"""The progress bar of work on clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from calm.extract.result import ClipResult
from calm.terminal import escape_unprintable

if TYPE_CHECKING:
    from calm.extract.models.lalm import LALM


def with_progress(
    batches: Iterable[Sequence[ClipResult]], lalm: LALM, clips: int, *, done: int = 0, shown: bool = True
) -> Iterator[Sequence[ClipResult]]:
    """Yield batches of results and show a progress bar with the rate and the remaining time.

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
        Whether to show the bar. Without a terminal at standard error, it is never shown.

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
    with tqdm(
        total=clips,
        initial=done,
        desc=escape_unprintable(f"{lalm.name} on {lalm.device.type}"),
        unit="clip",
        disable=None if shown else True,
    ) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))
