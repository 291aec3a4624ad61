"""One progress bar for all work that goes clip by clip."""

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
    """Yield batches of results, and show how many clips are done beside a bar with a rate and the time left.

    Parameters
    ----------
    batches : iterable of sequences of ClipResult
    lalm : LALM
    clips, done : int
        How many there are, and how many were done before.
    shown : bool, default=True
        Silent all the same unless standard error is a terminal.
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
