"""Clips to a model's inputs, ahead of the model: decoded, resampled and turned into features by threads."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from calm.extract.forward.batch_size import BatchSize
from calm.extract.media.audio import AudioError, audio_duration
from calm.extract.media.clip import Clip
from calm.extract.media.content import compute_content_if_readable
from calm.extract.media.decode import decode_clip, select_sources
from calm.extract.media.decoded_clip import DecodedClip
from calm.extract.media.video import VideoError, require_av
from calm.extract.media_options import AUDIO_ONLY, MediaOptions
from calm.extract.models.digest import PROBE
from calm.extract.models.inputs import InputBuilder, InputError, PaddingSide
from calm.extract.result import ClipResult
from calm.machine import available_cores

if TYPE_CHECKING:
    import torch

#: So many clips are sorted by length at a time: enough for batches of even length, few enough to begin at once.
_SORTED_TOGETHER = 2048

#: So many rendered prompts are remembered: clips may have questions of their own.
_CHATS = 1024

#: What the pictures of one batch may take on the CPU; as many batches wait as there are threads, and one more.
_PICTURE_BYTES, _THREADS_FOR_PICTURES = 512 * 2**20, 4


@dataclass(frozen=True)
class Batch:
    """Clips of about one length, ready for the model."""

    clips: tuple[ClipResult, ...]  #: what is known of each row of the inputs so far
    inputs: Mapping[str, Any]  #: on the CPU

    @property
    def rows(self) -> list[int]:
        """Which clips of the list these are, increasing."""
        return [clip.row for clip in self.clips]


#: What comes out of a feed: a batch that is ready, or clips that cannot go into one, each with its reason.
LoadedBatch = Batch | list[ClipResult]


class BatchLoader:
    """Reads clips as a model hears and sees them, and makes its inputs; takes no weights.

    Parameters
    ----------
    builder : InputBuilder
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.
    device : torch.device
        Where the model is: decides on how many threads work, and on pinned memory.
    max_seconds : float, default=None
        Where long clips are cut; the model's window if that is shorter.
    padding_side : {"right", "left"}, default="right"
        See :meth:`calm.extract.InputBuilder.prepare`.
    media_options : MediaOptions, default=AUDIO_ONLY
        What of a clip goes in.
    full_window : bool, default=True
        See :meth:`calm.extract.InputBuilder.prepare`.

    Raises
    ------
    ValueError
        If the model is to see, and cannot.
    ImportError
        If it is to see, and PyAV is not there.
    """

    def __init__(
        self,
        builder: InputBuilder,
        clips: Sequence[Clip],
        texts: Sequence[str],
        device: torch.device,
        *,
        max_seconds: float | None = None,
        padding_side: PaddingSide = "right",
        media_options: MediaOptions = AUDIO_ONLY,
        full_window: bool = True,
    ) -> None:
        if media_options.uses_video:
            require_av()
        self.builder, self.clips, self.texts, self.device = builder, clips, texts, device
        self.padding_side, self.media_options, self.full_window = padding_side, media_options, full_window
        self.limit = builder.limit_seconds(max_seconds, media_options)
        builder.chat(PROBE, media_options)  # a model that is to see, and cannot, is refused now
        self._chat = lru_cache(_CHATS)(self._rendered)

    def read(self, rows: Sequence[int]) -> list[LoadedBatch]:
        """Decode some clips and make one batch of them, or as many as may go together.

        Clips that cannot be read, or that the processor cannot take, are set aside with the reason.
        """
        clips, decoded_clips, made = [], [], []  # as long as one another
        failed: list[ClipResult] = []
        for row in sorted(rows):
            decoded = None
            try:
                decoded = decode_clip(self.clips[row], self.media_options, self.builder.sampling_rate, self.limit)
                inputs = self._inputs_of(decoded, self.texts[row])
            except (AudioError, VideoError, InputError, OSError) as error:
                failed.append(self._known(row, decoded, reason=str(error)))
            else:
                clips.append(self._known(row, decoded))
                decoded_clips.append(decoded)
                made.append(inputs)
        batches: list[LoadedBatch] = [
            Batch(tuple(clips[i] for i in part), self._stacked([made[i] for i in part]))
            for part in self.builder.split_by_length(decoded_clips)
        ]
        return [*batches, failed] if failed else batches

    def control(self) -> Batch:
        """Make a batch of a clip that any model must be able to take, to tell a clip's fault from the model's."""
        decoded = self.builder.control_clip(self.media_options)
        return Batch((ClipResult(-1),), self._stacked([self._inputs_of(decoded, PROBE)]))

    def _rendered(self, text: str) -> str:
        try:
            return self.builder.chat(text, self.media_options)
        except ValueError as error:  # of this text: another was rendered before
            raise InputError(str(error)) from error

    def _inputs_of(self, decoded: DecodedClip, text: str) -> Mapping[str, torch.Tensor]:
        return self.builder.row(
            decoded, self._chat(text), media_options=self.media_options, full_window=self.full_window
        )

    def _stacked(self, rows: list[Mapping[str, torch.Tensor]]) -> Mapping[str, torch.Tensor]:
        """Put inputs of clips together; beside a GPU, in memory from which it copies while it computes."""
        inputs = self.builder.stack(rows, padding_side=self.padding_side, full_window=self.full_window)
        return {name: tensor.pin_memory() for name, tensor in inputs.items()} if self.device.type == "cuda" else inputs

    def _known(self, row: int, decoded: DecodedClip | None, reason: str = "") -> ClipResult:
        if decoded is None:
            sources = select_sources(self.clips[row], self.media_options)
            return ClipResult(row, reason=reason, content=compute_content_if_readable(*sources))
        return ClipResult(row, None, reason, decoded.seconds, decoded.peak, decoded.content)

    def batches(
        self, size: BatchSize, *, rows: Sequence[int] | None = None, workers: int | None = None
    ) -> Iterator[LoadedBatch]:
        """Yield all clips in batches of about one length, made by threads while the model works.

        Batches are planned for all clips, and hold of them what is in ``rows``: where some were done before, the others
        meet the same company as if none had been.

        Parameters
        ----------
        size : BatchSize
            Looked at anew for every batch.
        rows : sequence of int, default=None
            Read only these.
        workers : int, default=None
            Threads, each of which makes a whole batch: one a core for a GPU, up to 8, unless given; for a CPU a third
            of the cores, since the model needs the others.
        """
        if workers is None:
            most = _THREADS_FOR_PICTURES if self.media_options.uses_video else 8
            workers = max(1, available_cores() // 3) if self.device.type == "cpu" else min(most, available_cores())
        with ThreadPoolExecutor(max(1, workers), initializer=_one_core) as pool:
            try:
                waiting: deque[Future[list[LoadedBatch]]] = deque()
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
        each = self.media_options.picture_bytes(seconds or math.inf)  # a length that cannot be told may be any
        return max(1, int(_PICTURE_BYTES // each)) if each else sys.maxsize

    def _seconds(self, row: int) -> float:
        seconds = audio_duration(self.clips[row].audio, self.builder.sampling_rate)
        return min(seconds, math.inf if self.limit is None else self.limit)


def _one_core() -> None:
    """Let a thread make features on one core: with teams of threads of their own, they would crowd out the model."""
    import torch

    torch.get_num_threads()  # sets up this thread, which would undo the limit later
    threadpool_limits(1, user_api="openmp")  # OpenMP's limit is of the thread that sets it
