"""Clips through a model, in batches: head vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calm.extract.forward.feed import Batch, BatchSize, FailedClip, Feed
from calm.extract.forward.passes import passes
from calm.extract.media.clip import Clip
from calm.extract.senses import SOUND_ALONE, Senses

if TYPE_CHECKING:
    from calm.extract.forward.arriving import Arriving
    from calm.extract.models.lalm import LALM


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
    senses: Senses = SOUND_ALONE,
    tokens: int = 1,
    max_seconds: float | None = None,
    layers: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
) -> Iterator[EncodedBatch]:
    """Send clips through a model, batch by batch.

    Clips of about one length go together. Those that cannot be read are set aside with the reason, and so is one for
    which memory does not suffice even alone; the others of their batch go on.

    Parameters
    ----------
    lalm : LALM
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.
    senses : Senses
        What of a clip goes in: its sound, unless given.
    tokens : int
        1 for the last token of the prompt, m for the mean over the last m.
    max_seconds : float, optional
        Where long clips are cut; the model's window if that is shorter.
    layers : sequence of int, optional
        Only these layers, which saves the layers after them; all unless given.
    rows : sequence of int, optional
        Only these clips, in the batches they would have been in with all others; all unless given.
    batch_size : int, optional
        Clips a forward pass: fewer from where memory was short. As many as a GPU holds, up to 64, unless given; 8 on
        a CPU.
    workers : int, optional
        Threads that decode, resample and compute features ahead of the model; one a core, up to 8, for a GPU, and on a
        CPU a third of the cores, unless given.

    Yields
    ------
    EncodedBatch
        Each with its rows in order; all together in no order.
    """
    from calm.extract.forward.arriving import Arriving
    from calm.extract.forward.prefix import SharedPrefixes
    from calm.extract.forward.recorder import record_heads

    feed = Feed(lalm, clips, texts, max_seconds=max_seconds, senses=senses)
    prefixes = SharedPrefixes(lalm, tokens, layers)

    def record(batch: Batch) -> Arriving:
        prefix, inputs = prefixes.of(batch.inputs), lalm.on_device(batch.inputs)
        model = lalm.model_for(inputs)
        return Arriving(record_heads(model, lalm.heads, inputs, tokens=tokens, layers=layers, prefix=prefix))

    before: tuple[Batch, Arriving | None] | None = None
    for recorded in passes(feed, BatchSize(batch_size), record, rows=rows, workers=workers):
        if before is not None:  # stored while the device works on what came after it
            yield _encoded(lalm, *before, layers)
        before = recorded
    if before is not None:
        yield _encoded(lalm, *before, layers)


def _encoded(lalm: LALM, batch: Batch, recorded: Arriving | None, layers: Sequence[int] | None) -> EncodedBatch:
    """Wait for head vectors, and set clips aside for which they are not finite."""
    if recorded is None:
        n_layers, n_heads, dim = lalm.heads.shape
        none = np.empty((0, n_layers if layers is None else len(layers), n_heads, dim), dtype=np.float32)
        return EncodedBatch(batch.rows, none, batch.seconds, batch.peak, batch.failed)
    vectors = recorded.numpy()
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(vectors).all(axis=(1, 2, 3)))
    reason = f"head vectors hold NaN or infinity in {lalm.dtype}: try another dtype"
    failed = batch.failed | {
        int(batch.rows[i]): FailedClip(reason, float(batch.seconds[i]), float(batch.peak[i]))
        for i in np.flatnonzero(~finite)
    }
    return EncodedBatch(batch.rows[finite], vectors[finite], batch.seconds[finite], batch.peak[finite], failed)
