"""One progress bar for all work that goes clip by clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

if TYPE_CHECKING:
    from calm.extract.models.lalm import LALM


def progress_bar(lalm: LALM, clips: int, *, done: int = 0, shown: bool = True) -> tqdm[NoReturn]:
    """Make a bar with a rate and the time left; silent unless standard error is a terminal."""
    return tqdm(
        total=clips,
        initial=done,
        desc=f"{lalm.name} on {lalm.device.type}",
        unit="clip",
        disable=None if shown else True,
    )
