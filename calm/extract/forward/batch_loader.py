"""Batches of model inputs, prepared by threads ahead of the model: decoded, resampled and turned into features."""

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
from calm.extract.media.in_memory import warn_of_doubtful_arrays
from calm.extract.media.video import VideoError, require_av
from calm.extract.media_options import AUDIO_ONLY, MediaOptions
from calm.extract.models.digest import PROBE
from calm.extract.models.inputs import InputBuilder, InputError, PaddingSide
from calm.extract.result import ClipResult
from calm.machine import available_cores

if TYPE_CHECKING:
    import torch

#: Number of clips that are sorted by length together: enough for batches of similar length, few enough for an early
#: first batch.
_SORT_BLOCK = 2048

#: Number of rendered prompts that are kept: each clip may have its own question.
_MAX_RENDERED_PROMPTS = 1024

#: Memory limit for the video frames of one batch, in bytes on the CPU.
_MAX_BATCH_FRAME_BYTES = 512 * 2**20

#: Thread limits. The number of prepared batches in memory is one more than the number of threads.
_MAX_WORKERS, _MAX_WORKERS_FOR_VIDEO = 8, 4


@dataclass(frozen=True)
class Batch:
    """Model inputs of clips of similar length."""

    clips: tuple[ClipResult, ...]  #: length, peak and digest of each clip, without a value
    inputs: Mapping[str, Any]  #: model inputs on the CPU, one row per clip

    @property
    def rows(self) -> list[int]:
        """Indices of the clips in the loader's list, in ascending order."""
        return [clip.row for clip in self.clips]


#: A batch for the model, or clips that failed before, each with its reason.
LoadedBatch = Batch | list[ClipResult]


class BatchLoader:
    """Decodes clips and builds model inputs from them; needs no model weights.

    Parameters
    ----------
    builder : InputBuilder
        Builder of the model's inputs.
    clips : sequence of Clip
        Clips to load.
    texts : sequence of str
        Prompt text of each clip, from :meth:`calm.extract.Prompt.text`.
    device : torch.device
        Device of the model. It determines the number of threads and whether inputs are in pinned memory.
    max_seconds : float, default=None
        Maximum clip length in seconds; longer clips are cut. None, or a value above the model's window, means the
        length of that window.
    padding_side : {"right", "left"}, default="right"
        See :meth:`calm.extract.InputBuilder.prepare`.
    media_options : MediaOptions, default=AUDIO_ONLY
        Whether the model receives the audio of a clip, its video, or both.
    full_window : bool, default=True
        See :meth:`calm.extract.InputBuilder.prepare`.

    Raises
    ------
    ValueError
        If video is requested and the model takes none.
    ImportError
        If video is requested and PyAV is not installed.
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
        warn_of_doubtful_arrays(clips, builder.sampling_rate)
        builder.chat(PROBE, media_options)  # raises ValueError now for a model that takes no video
        self._render = lru_cache(_MAX_RENDERED_PROMPTS)(self._render_prompt)

    def read(self, rows: Sequence[int]) -> list[LoadedBatch]:
        """Decode clips and build their inputs, as one batch or as several if their lengths must not be mixed.

        Clips that cannot be decoded, or that the processor refuses, are returned as a list of failed results.
        """
        clips, decoded_clips, inputs = [], [], []  # parallel lists
        failed: list[ClipResult] = []
        for row in sorted(rows):
            decoded = None
            try:
                decoded = decode_clip(self.clips[row], self.media_options, self.builder.sampling_rate, self.limit)
                clip_inputs = self._build_inputs(decoded, self.texts[row])
            except (AudioError, VideoError, InputError, OSError) as error:
                failed.append(self._result_without_value(row, decoded, reason=str(error)))
            else:
                clips.append(self._result_without_value(row, decoded))
                decoded_clips.append(decoded)
                inputs.append(clip_inputs)
        batches: list[LoadedBatch] = [
            Batch(tuple(clips[i] for i in part), self._stack([inputs[i] for i in part]))
            for part in self.builder.split_by_length(decoded_clips)
        ]
        return [*batches, failed] if failed else batches

    def control_batch(self) -> Batch:
        """Build a batch of one clip that every model must accept.

        If the model fails on it too, the model and not a clip causes an error.
        """
        decoded = self.builder.control_clip(self.media_options)
        return Batch((ClipResult(-1),), self._stack([self._build_inputs(decoded, PROBE)]))

    def _render_prompt(self, text: str) -> str:
        """Render the chat template; any error is that of the text, since another text was rendered before."""
        try:
            return self.builder.chat(text, self.media_options)
        except ValueError as error:
            raise InputError(str(error)) from error

    def _build_inputs(self, decoded: DecodedClip, text: str) -> Mapping[str, torch.Tensor]:
        return self.builder.row(
            decoded, self._render(text), media_options=self.media_options, full_window=self.full_window
        )

    def _stack(self, rows: list[Mapping[str, torch.Tensor]]) -> Mapping[str, torch.Tensor]:
        """Stack the inputs of clips; for a GPU, in pinned memory, which it copies while it computes."""
        inputs = self.builder.stack(rows, padding_side=self.padding_side, full_window=self.full_window)
        return {name: tensor.pin_memory() for name, tensor in inputs.items()} if self.device.type == "cuda" else inputs

    def _result_without_value(self, row: int, decoded: DecodedClip | None, reason: str = "") -> ClipResult:
        if decoded is None:
            sources = select_sources(self.clips[row], self.media_options)
            return ClipResult(row, reason=reason, content=compute_content_if_readable(*sources))
        return ClipResult(
            row,
            reason=reason,
            seconds=decoded.seconds,
            peak=decoded.peak,
            content=decoded.content,
            decoded_seconds=decoded.decoded_seconds,
        )

    def batches(
        self, size: BatchSize, *, rows: Sequence[int] | None = None, workers: int | None = None
    ) -> Iterator[LoadedBatch]:
        """Yield all clips in batches of similar length, which threads prepare while the model runs.

        Batches are planned for all clips and then reduced to those in ``rows``. A resumed extraction therefore forms
        the same batches as an uninterrupted one.

        Parameters
        ----------
        size : BatchSize
            Batch size, read again for every batch.
        rows : sequence of int, default=None
            Indices of the clips to load. None loads all clips.
        workers : int, default=None
            Number of threads, each of which prepares whole batches. None means one per core, up to 8, for a model on
            a GPU. For a model on a CPU, it means a third of the cores, because the model needs the others.
        """
        if workers is None:
            most = _MAX_WORKERS_FOR_VIDEO if self.media_options.uses_video else _MAX_WORKERS
            workers = max(1, available_cores() // 3) if self.device.type == "cpu" else min(most, available_cores())
        with ThreadPoolExecutor(max(1, workers), initializer=_limit_to_one_core) as pool:
            try:
                pending: deque[Future[list[LoadedBatch]]] = deque()
                for planned in self._plan_batches(size, None if rows is None else set(rows), pool):
                    pending.append(pool.submit(self.read, planned))
                    if len(pending) > workers:
                        yield from pending.popleft().result()
                while pending:
                    yield from pending.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _plan_batches(self, size: BatchSize, rows: set[int] | None, pool: ThreadPoolExecutor) -> Iterator[list[int]]:
        """Yield the rows of each batch, longest clips first, so that a lack of memory shows early."""
        for first in range(0, len(self.clips), _SORT_BLOCK):
            block = range(first, min(first + _SORT_BLOCK, len(self.clips)))
            if rows is not None and rows.isdisjoint(block):
                continue
            seconds = dict(zip(block, pool.map(self._read_seconds, block), strict=True))
            longest_first = sorted(block, key=lambda row: -seconds[row])  # stable sort: ties keep their order
            while longest_first:
                n_clips = min(size.clips, self._max_clips_with_frames(seconds[longest_first[0]]))
                planned, longest_first = longest_first[:n_clips], longest_first[n_clips:]
                requested = [row for row in planned if rows is None or row in rows]
                if requested:
                    yield requested

    def _max_clips_with_frames(self, seconds: float) -> int:
        """Return how many clips of up to this length fit into the memory limit for video frames."""
        frame_bytes = self.media_options.frame_bytes(seconds or math.inf)  # 0 means an unknown length
        return max(1, int(_MAX_BATCH_FRAME_BYTES // frame_bytes)) if frame_bytes else sys.maxsize

    def _read_seconds(self, row: int) -> float:
        seconds = audio_duration(self.clips[row].audio, self.builder.sampling_rate)
        return min(seconds, math.inf if self.limit is None else self.limit)


def _limit_to_one_core() -> None:
    """Limit a worker thread to one core: its own OpenMP threads would take cores from the model."""
    import torch

    torch.get_num_threads()  # initializes this thread, which would later undo the limit
    threadpool_limits(1, user_api="openmp")  # OpenMP's limit applies to the calling thread only
