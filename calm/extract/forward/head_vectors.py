"""Clips through a model, in batches: head vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from calm.extract.forward.batch_size import Batching, BatchSize
from calm.extract.forward.feed import Batch, Feed
from calm.extract.forward.passes import passes
from calm.extract.media.clip import Clip
from calm.extract.models.lalm import LALM
from calm.extract.result import ClipResult
from calm.extract.senses import SOUND_ALONE, Senses
from calm.options import documented, make_group

if TYPE_CHECKING:
    from calm.extract.forward.arriving import Arriving


@documented(Batching)
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
    **batching: Any,
) -> Iterator[list[ClipResult]]:
    """Send clips through a model, batch by batch.

    Clips of about one length go together. A clip that cannot be read, that the model cannot take, or for which memory
    does not suffice even alone is set aside with the reason; the others of its batch go on.

    Parameters
    ----------
    lalm : LALM
    clips : sequence of Clip
    texts : sequence of str
        What the model is asked beside each clip.
    senses : Senses, default=SOUND_ALONE
        What of a clip goes in.
    tokens : int, default=1
        1 for the last token of the prompt, m for the mean over the last m.
    max_seconds : float, default=None
        Where long clips are cut; the model's window if that is shorter.
    layers : sequence of int, default=None
        Only these layers, which saves the layers after them; all unless given.
    rows : sequence of int, default=None
        Only these clips, in the batches they would have been in with all others; all unless given.
    {options}

    Yields
    ------
    list of ClipResult
        Those of one batch, in the order of their rows; all together in no order. Values are float32 arrays
        ``(layers, heads, dim)``.

    See Also
    --------
    calm.extract.gather : Puts results together.
    calm.extract.extract_to_cache : Stores them.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import find_clips, load_lalm
    >>> clips = find_clips([np.zeros(16000)])
    >>> [result] = [result for batch in head_vectors(load_lalm("tiny"), clips, ["What is this?"]) for result in batch]
    >>> result.value.shape
    (6, 8, 32)
    """
    how = make_group(Batching, batching)
    if len(texts) != len(clips):
        raise ValueError(f"{len(clips)} clips, but {len(texts)} texts")
    from calm.extract.forward.arriving import Arriving
    from calm.extract.forward.prefix import SharedPrefixes
    from calm.extract.forward.recorder import record_heads

    feed = Feed(
        lalm.builder,
        clips,
        texts,
        lalm.device,
        max_seconds=max_seconds,
        senses=senses,
        silence=lalm.hears_silence,
    )
    prefixes = SharedPrefixes(lalm, tokens, layers)

    def record(batch: Batch) -> Arriving:
        prefix, inputs = prefixes.of(batch.inputs), lalm.on_device(batch.inputs)
        model = lalm.model_for(inputs)
        return Arriving(record_heads(model, lalm.heads, inputs, tokens=tokens, layers=layers, prefix=prefix))

    return passes(feed, BatchSize(how.batch_size), record, rows=rows, workers=how.workers)
