"""Clips through a model, in batches: decoding ahead in threads, head vectors out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calm.extract.audio import AudioError, Waveform, read_waveform
from calm.extract.clips import Clip

if TYPE_CHECKING:
    from calm.extract.models import LALM

#: Decoding runs this many batches ahead of the model.
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class FailedClip:
    """Why a clip has no head vectors."""

    reason: str
    seconds: float = math.nan  #: length of the recording, where that could be read
    peak: float = math.nan  #: largest absolute sample, likewise


@dataclass(frozen=True)
class EncodedBatch:
    """What became of some clips."""

    rows: NDArray[np.int64]  #: which clips of the list went through the model, (n,)
    vectors: NDArray[np.float32]  #: their head vectors, (n, layers, heads, dim)
    seconds: NDArray[np.float64]  #: length of each recording, (n,)
    peak: NDArray[np.float64]  #: largest absolute sample of each, (n,)
    failed: dict[int, FailedClip]  #: clips that did not, and why


def head_vectors(
    lalm: LALM,
    clips: Sequence[Clip],
    texts: Sequence[str],
    *,
    tokens: int = 1,
    max_seconds: float | None = None,
    layers: Sequence[int] | None = None,
    batch_size: int = 8,
    workers: int = 2,
) -> Iterator[EncodedBatch]:
    """Send clips through a model, batch by batch.

    Clips that cannot be read are set aside with the reason; the others of their batch go on.

    Parameters
    ----------
    lalm : LALM
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.
    tokens : int
        1 for the last token of the prompt, m for the mean over the last m.
    max_seconds : float, optional
        Where long clips are cut; the model's window if that is shorter.
    layers : sequence of int, optional
        Only these layers, which saves the layers after them; all unless given.
    batch_size : int
        Clips a forward pass.
    workers : int
        Threads that decode and resample ahead of the model.

    Yields
    ------
    EncodedBatch
        In the order of the clips.
    """
    import torch

    from calm.extract.recorder import record_heads

    chats = {text: lalm.chat(text) for text in set(texts)}

    for heard, failed in read_batches(lalm, clips, max_seconds=max_seconds, batch_size=batch_size, workers=workers):
        n_layers, n_heads, dim = lalm.heads.shape
        vectors = np.empty((0, n_layers if layers is None else len(layers), n_heads, dim), dtype=np.float32)
        if heard:
            inputs = lalm.inputs([wave.samples for wave in heard.values()], [chats[texts[row]] for row in heard])
            try:
                vectors = record_heads(lalm.model, lalm.heads, inputs, tokens=tokens, layers=layers).numpy()
            except torch.OutOfMemoryError as error:
                raise MemoryError(
                    f"{lalm.device} has no memory for {batch_size} clips at once: try a smaller batch size"
                ) from error
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=(1, 2, 3)))
        for (row, wave), whole in zip(heard.items(), finite, strict=True):
            if not whole:
                reason = f"head vectors hold NaN or infinity in {lalm.dtype}: try another dtype"
                failed[row] = FailedClip(reason, wave.seconds, wave.peak)
        kept = [wave for row, wave in heard.items() if row not in failed]
        yield EncodedBatch(
            rows=np.asarray([row for row in heard if row not in failed], dtype=np.int64),
            vectors=vectors[finite],
            seconds=np.asarray([wave.seconds for wave in kept]),
            peak=np.asarray([wave.peak for wave in kept]),
            failed=failed,
        )


def read_batches(
    lalm: LALM,
    clips: Sequence[Clip],
    *,
    max_seconds: float | None = None,
    batch_size: int = 8,
    workers: int = 2,
) -> Iterator[tuple[dict[int, Waveform], dict[int, FailedClip]]]:
    """Read clips as a model hears them, in batches, by threads that decode ahead while the model works.

    Yields
    ------
    heard : dict of int to Waveform
        By number of the clip; cut at ``max_seconds`` or the model's window.
    failed : dict of int to FailedClip
        Clips that cannot be read, and why.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
    limit = min((s for s in (max_seconds, lalm.window_seconds) if s is not None), default=None)
    for first, decoded in _decode_ahead(clips, lalm.sampling_rate, limit, batch_size, workers):
        numbered = list(enumerate(decoded, first))
        heard = {row: wave for row, wave in numbered if isinstance(wave, Waveform)}
        yield heard, {row: clip for row, clip in numbered if isinstance(clip, FailedClip)}


def _decode_ahead(
    clips: Sequence[Clip], sampling_rate: int, max_seconds: float | None, batch_size: int, workers: int
) -> Iterator[tuple[int, list[Waveform | FailedClip]]]:
    """Yield batches of waveforms, or of reasons why there is none, decoded by threads while the model works."""

    def submit(first: int) -> tuple[int, list[Future[Waveform | FailedClip]]]:
        batch = clips[first : first + batch_size]
        return first, [pool.submit(_decode, clip, sampling_rate, max_seconds) for clip in batch]

    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            waiting: deque[tuple[int, list[Future[Waveform | FailedClip]]]] = deque()
            for first in range(0, len(clips), batch_size):
                waiting.append(submit(first))
                if len(waiting) > _BATCHES_AHEAD:
                    start, futures = waiting.popleft()
                    yield start, [future.result() for future in futures]
            for start, futures in waiting:
                yield start, [future.result() for future in futures]
        finally:
            pool.shutdown(cancel_futures=True)


def _decode(clip: Clip, sampling_rate: int, max_seconds: float | None) -> Waveform | FailedClip:
    try:
        return read_waveform(clip.audio, sampling_rate, max_seconds)
    except (AudioError, OSError) as error:
        return FailedClip(str(error))
