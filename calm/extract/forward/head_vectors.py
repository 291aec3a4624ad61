"""Head vectors of clips, computed batch by batch."""

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
    """Compute the head vectors of clips, batch by batch.

    Each batch holds clips of similar length. A clip fails alone, with a reason, if it cannot be read, if the model
    raises an error for it, or if memory runs out even for a batch of one. The other clips of its batch continue.

    Parameters
    ----------
    lalm : LALM
        Model, from :func:`calm.extract.load_lalm`.
    clips : sequence of Clip
        Clips, from :func:`calm.find_clips`.
    texts : sequence of str
        Prompt text of each clip, from :meth:`calm.extract.Prompt.text`.
    media_options : MediaOptions, default=AUDIO_ONLY
        Whether the model receives the audio of a clip, its video, or both.
    tokens : int, default=1
        Number of last prompt tokens whose mean vector is recorded. 1 records the last token alone.
    max_seconds : float, default=None
        Maximum clip length in seconds; longer clips are cut. None, or a value above the model's window, means the
        length of that window.
    layers : sequence of int, default=None
        Indices of the layers to record, in this order. Layers after the last of them are not computed. None records
        all layers.
    rows : sequence of int, default=None
        Indices of the clips to compute. Their batches are planned as if all clips were computed, so that a resumed
        extraction forms the same batches. None computes all clips.
    {options}

    Yields
    ------
    list of ClipResult
        Results of one batch, ordered by row. Batches come in no fixed order. Values are float32 arrays of shape
        ``(n_layers, n_heads, head_dim)``.

    See Also
    --------
    calm.extract.collect_results : Collect the results in the order of the clips.
    calm.extract.extract_to_cache : Write the results to an HDF5 file.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import find_clips, load_lalm
    >>> clips = find_clips([np.zeros(16000)], sampling_rate=16000)
    >>> [result] = [result for batch in head_vectors(load_lalm("tiny"), clips, ["What is this?"]) for result in batch]
    >>> result.value.shape
    (6, 8, 32)
    """
    options = build_group(Batching, batching)
    if len(texts) != len(clips):
        raise ValueError(f"got {len(clips)} clips, but {len(texts)} texts: give one text per clip")
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
    prefix_caches = PrefixCaches(lalm, tokens, layers)

    def record(batch: Batch) -> AsyncCopy:
        prefix, inputs = prefix_caches.get(batch.inputs), lalm.on_device(batch.inputs)
        model = lalm.model_for(inputs)
        return AsyncCopy(record_heads(model, lalm.heads, inputs, tokens=tokens, layers=layers, prefix=prefix))

    return forward_passes(loader, BatchSize(options.batch_size), record, rows=rows, workers=options.workers)
