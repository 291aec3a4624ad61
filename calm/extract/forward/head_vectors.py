"""Clips through a model, in batches: head vectors out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from calm.extract.forward.batch_loader import Batch, BatchLoader
from calm.extract.forward.batch_size import Batching, BatchSize
from calm.extract.forward.forward_passes import forward_passes
from calm.extract.media.clip import Clip
from calm.extract.media_options import AUDIO_ONLY, MediaOptions
from calm.extract.models.lalm import LALM
from calm.extract.result import ClipResult
from calm.options import build_group, document_options

if TYPE_CHECKING:
    from calm.extract.forward.async_copy import AsyncCopy


@document_options(Batching)
def head_vectors(
    lalm: LALM,
    clips: Sequence[Clip],
    texts: Sequence[str],
    *,
    media_options: MediaOptions = AUDIO_ONLY,
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
    media_options : MediaOptions, default=AUDIO_ONLY
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
    calm.extract.collect_results : Puts results together.
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
    how = build_group(Batching, batching)
    if len(texts) != len(clips):
        raise ValueError(f"{len(clips)} clips, but {len(texts)} texts")
    from calm.extract.forward.async_copy import AsyncCopy
    from calm.extract.forward.prefix_cache import PrefixCaches
    from calm.extract.forward.recorder import record_heads

    loader = BatchLoader(
        lalm.builder,
        clips,
        texts,
        lalm.device,
        max_seconds=max_seconds,
        media_options=media_options,
        full_window=lalm.needs_full_window,
    )
    prefixes = PrefixCaches(lalm, tokens, layers)

    def record(batch: Batch) -> AsyncCopy:
        prefix, inputs = prefixes.of(batch.inputs), lalm.on_device(batch.inputs)
        model = lalm.model_for(inputs)
        return AsyncCopy(record_heads(model, lalm.heads, inputs, tokens=tokens, layers=layers, prefix=prefix))

    return forward_passes(loader, BatchSize(how.batch_size), record, rows=rows, workers=how.workers)
