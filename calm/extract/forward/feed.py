"""Clips to a model's inputs, ahead of the model: decoded, resampled and turned into features by threads."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from calm.extract.media.audio import AudioError, seconds_of
from calm.extract.media.clip import Clip
from calm.extract.media.perceive import perceive
from calm.extract.media.percept import Percept
from calm.extract.media.video import VideoError, need_av
from calm.extract.senses import SOUND_ALONE, Senses
from calm.machine import cores

if TYPE_CHECKING:
    import torch

    from calm.extract.models.lalm import LALM

#: So many clips are sorted by length at a time: enough for batches of even length, few enough to begin at once.
_SORTED_TOGETHER = 2048

#: A batch is doubled up to here, and only where what it took so far is less than this share of what is left.
_MOST_CLIPS, _SHARE_OF_FREE = 64, 0.9


#: What the pictures of one batch may take on the CPU; as many batches wait as there are threads, and one more.
_PICTURE_BYTES, _THREADS_FOR_PICTURES = 512 * 2**20, 4


@dataclass(frozen=True)
class FailedClip:
    """Why a clip has no head vectors."""

    reason: str
    seconds: float = math.nan  #: length of the recording, where that could be read
    peak: float = math.nan  #: largest absolute sample, likewise


@dataclass(frozen=True)
class Batch:
    """Clips of about one length, ready for the model; or clips that cannot be read."""

    rows: NDArray[np.int64]  #: which clips of the list these are, (n,), increasing
    inputs: Mapping[str, Any]  #: on the CPU; empty where there are no rows
    seconds: NDArray[np.float64]  #: length of each recording, (n,)
    peak: NDArray[np.float64]  #: largest absolute sample of each, (n,)
    failed: dict[int, FailedClip]  #: clips that cannot be read, and why


class BatchSize:
    """How many clips go through the model at once: as many as asked for, or as memory has been seen to hold.

    Parameters
    ----------
    clips : int, optional
        None begins with 8, and goes on with twice as many for as long as a GPU has room for that, up to 64.
    """

    def __init__(self, clips: int | None = None) -> None:
        if clips is not None and clips < 1:
            raise ValueError(f"batch_size must be at least 1, got {clips!r}")
        self.clips, self._grows = clips or 8, clips is None

    def passed(self, clips: int, device: torch.device) -> None:
        """Learn that so many went through."""
        if not self._grows or clips < self.clips or device.type != "cuda":
            return
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        for_activations = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if self.clips < _MOST_CLIPS and for_activations < _SHARE_OF_FREE * free:
            self.clips *= 2

    def failed(self, clips: int) -> None:
        """Learn that memory did not suffice for so many."""
        self.clips, self._grows = min(self.clips, max(1, clips // 2)), False


class Feed:
    """Reads clips as a model hears and sees them, and makes its inputs.

    Parameters
    ----------
    lalm : LALM
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.
    max_seconds : float, optional
        Where long clips are cut; the model's window if that is shorter.
    padding_side : {"right", "left"}
        See :meth:`calm.extract.LALM.inputs`.
    senses : Senses
        What of a clip goes in.

    Raises
    ------
    ValueError
        If the model is to see, and cannot.
    ImportError
        If it is to see, and PyAV is not there.
    """

    def __init__(
        self,
        lalm: LALM,
        clips: Sequence[Clip],
        texts: Sequence[str],
        *,
        max_seconds: float | None = None,
        padding_side: Literal["left", "right"] = "right",
        senses: Senses = SOUND_ALONE,
    ) -> None:
        if senses.sees:
            need_av()
        self.lalm, self.clips, self.texts = lalm, clips, texts
        self.padding_side, self.senses = padding_side, senses
        self.chats = {text: lalm.chat(text, senses) for text in set(texts)}
        self.limit = lalm.limit_seconds(max_seconds, senses)

    def read(self, rows: Sequence[int]) -> list[Batch]:
        """Decode some clips and make one batch of them, or as many as :meth:`calm.extract.LALM.together` wants.

        Clips that cannot be read are set aside with the reason.
        """
        read = {row: self._decode(self.clips[row]) for row in sorted(rows)}
        there = {row: percept for row, percept in read.items() if isinstance(percept, Percept)}
        failed = {row: clip for row, clip in read.items() if isinstance(clip, FailedClip)}
        parts = self.lalm.together(list(there.values())) if there else []
        numbers = list(there)
        batches = [self._batch({numbers[i]: there[numbers[i]] for i in part}) for part in parts]
        if failed:
            none = np.empty(0)
            batches.append(Batch(none.astype(np.int64), {}, none, none, failed))
        return batches

    def _batch(self, there: Mapping[int, Percept]) -> Batch:
        prompts, percepts = [self.chats[self.texts[row]] for row in there], list(there.values())
        inputs = self.lalm.prepare(percepts, prompts, senses=self.senses, padding_side=self.padding_side, silence=False)
        return Batch(
            rows=np.fromiter(there, dtype=np.int64),
            inputs=inputs,
            seconds=np.array([percept.seconds for percept in percepts]),
            peak=np.array([percept.peak for percept in percepts]),
            failed={},
        )

    def batches(
        self, size: BatchSize, *, rows: Sequence[int] | None = None, workers: int | None = None
    ) -> Iterator[Batch]:
        """Yield all clips in batches of about one length, made by threads while the model works.

        Batches are planned for all clips, and hold of them what is in ``rows``: where some were done before, the others
        meet the same company as if none had been.

        Parameters
        ----------
        size : BatchSize
            Looked at anew for every batch.
        rows : sequence of int, optional
            Read only these.
        workers : int, optional
            Threads, each of which makes a whole batch: one a core for a GPU, up to 8, unless given; for a CPU a third
            of the cores, since the model needs the others.
        """
        if workers is None:
            most = _THREADS_FOR_PICTURES if self.senses.sees else 8
            workers = max(1, cores() // 3) if self.lalm.device.type == "cpu" else min(most, cores())
        with ThreadPoolExecutor(max(1, workers), initializer=_one_core) as pool:
            try:
                waiting: deque[Future[list[Batch]]] = deque()
                for planned in self._planned(size, None if rows is None else set(rows), pool):
                    waiting.append(pool.submit(self.read, planned))
                    if len(waiting) > workers:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _planned(self, size: BatchSize, rows: set[int] | None, pool: ThreadPoolExecutor) -> Iterator[list[int]]:
        """Yield rows for each batch: longest first, so that memory that does not suffice is found early."""
        for first in range(0, len(self.clips), _SORTED_TOGETHER):
            block = range(first, min(first + _SORTED_TOGETHER, len(self.clips)))
            if rows is not None and rows.isdisjoint(block):
                continue
            lengths = dict(zip(block, pool.map(self._seconds, block), strict=True))
            longest_first = sorted(block, key=lambda row: -lengths[row])  # stable: equal ones in their order
            while longest_first:
                clips = min(size.clips, self._with_pictures(lengths[longest_first[0]]))
                planned, longest_first = longest_first[:clips], longest_first[clips:]
                wanted = [row for row in planned if rows is None or row in rows]
                if wanted:
                    yield wanted

    def _with_pictures(self, seconds: float) -> int:
        """Tell how many clips of a length, or shorter ones, wait for the model together without crowding memory."""
        each = self.senses.picture_bytes(seconds or math.inf)  # a length that cannot be told may be any
        return max(1, int(_PICTURE_BYTES // each)) if each else sys.maxsize

    def _seconds(self, row: int) -> float:
        seconds = seconds_of(self.clips[row].audio, self.lalm.sampling_rate)
        return min(seconds, math.inf if self.limit is None else self.limit)

    def _decode(self, clip: Clip) -> Percept | FailedClip:
        try:
            return perceive(clip, self.senses, self.lalm.sampling_rate, self.limit)
        except (AudioError, VideoError, OSError) as error:
            return FailedClip(str(error))


def _one_core() -> None:
    """Let a thread make features on one core: with teams of threads of their own, they would crowd out the model."""
    import torch

    torch.get_num_threads()  # sets up this thread, which would undo the limit later
    threadpool_limits(1, user_api="openmp")  # OpenMP's limit is of the thread that sets it
