"""Zero-shot classification by the likelihood of each label as the answer of the model; no support set is needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calm.extract import Clip, MediaOptions, Prompt, Request, collect_results, find_clips, load_lalm, with_progress
from calm.extract.failures import describe_failures
from calm.extract.forward.batch_loader import Batch, BatchLoader
from calm.extract.forward.batch_size import BatchSize
from calm.extract.forward.forward_passes import forward_passes
from calm.extract.prompt import OPTIONS_TEMPLATE
from calm.options import build_group, document_options, options_of

if TYPE_CHECKING:
    import torch

    from calm.extract import LALM

#: Default batch size. Every answer continues the KV cache of the whole batch, which takes memory.
_BATCH_SIZE = 8


@dataclass(frozen=True)
class ZeroShot:
    """Zero-shot scores of clips.

    Attributes
    ----------
    clips : tuple of Clip
        The ``n_clips`` clips that did not fail.
    classes : ndarray of shape (n_classes,)
        Class labels, in the given order.
    scores : ndarray of shape (n_clips, n_classes)
        Mean log-likelihood of the tokens of each label, in nats per token.
    failures : dict of str to str
        Reason of each failure by name of the clip.
    notes : tuple of tuple of str
        What is unusual about the audio of each clip, as in :class:`calm.AudioPrediction`.

    See Also
    --------
    calm.zero_shot : Classify clips without a support set.

    Examples
    --------
    >>> prediction = ZeroShot((Clip("a.wav", "a.wav"),), np.array(["dog", "rain"]), np.array([[-4.0, -1.5]]), {})
    >>> prediction.labels
    array(['rain'], dtype='<U4')
    """

    clips: tuple[Clip, ...]
    classes: NDArray[np.str_]
    scores: NDArray[np.float64]
    failures: dict[str, str]
    notes: tuple[tuple[str, ...], ...] = ()

    @property
    def labels(self) -> NDArray[np.str_]:
        """Most likely label of each clip, of shape (n_clips,)."""
        return self.classes[self.scores.argmax(axis=1)]


@document_options(Prompt, MediaOptions)
def zero_shot(
    model: str | LALM,
    clips: str | Path | Iterable[Any],
    labels: Sequence[str],
    *,
    sampling_rate: float | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    **options: Any,
) -> ZeroShot:
    """Classify clips by the likelihood of each label as the answer of the model, without a support set.

    The score of a label is the mean log-likelihood of its tokens. Nothing is generated, so that the answer is always
    one of the labels. By default, the template is ``"{question} Choose from: {options}."``, which suits
    instruction-tuned models.

    Parameters
    ----------
    model : str or LALM
        Name or folder of the model, as in :func:`calm.load_lalm`, or the loaded model.
    clips : str, Path or sequence
        A folder, a manifest or a file, or a sequence of clips, paths and waveforms, as in :func:`calm.find_clips`.
        The question of a clip replaces ``question``.
    labels : sequence of str of length n_classes
        Labels, in words that the model would use.
    sampling_rate : float, default=None
        Sampling rate in Hz of the waveforms that have none, as in :func:`calm.find_clips`. None means the model's rate.
    batch_size : int, default=None
        Number of clips per forward pass; smaller after the device has run out of memory. None means 8.
    progress : bool, default=False
        Whether to show a progress bar if standard error is a terminal.
    {options}

    Returns
    -------
    ZeroShot
        Scores of the clips, and the reasons of failures.

    Raises
    ------
    ValueError
        If there are fewer than two labels or labels repeat, or the model is unknown.
    TypeError
        If an option is unknown.

    See Also
    --------
    calm.extract.answer_log_likelihoods : Compute the scores of one batch.
    calm.predict_audio : Classify clips with a fitted classifier.

    Examples
    --------
    >>> from calm.sounds import make_sounds
    >>> waves, _ = make_sounds(n_classes=1, n_per_class=2)
    >>> zero_shot("tiny", waves, ["bell", "wind", "motor"], sampling_rate=16000).scores.shape
    (2, 3)
    """
    from calm.extract import answer_log_likelihoods

    names = [] if isinstance(labels, str) else [str(label) for label in labels]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ValueError(f"zero_shot needs at least two labels, all different; got {labels!r}")
    size = BatchSize(_BATCH_SIZE if batch_size is None else batch_size)
    clip_list = find_clips(clips, sampling_rate=sampling_rate)
    lalm = load_lalm(model) if isinstance(model, str) else model
    media_options = build_group(
        MediaOptions, {name: options.pop(name) for name in options_of(MediaOptions) if name in options}
    )
    prompt = build_group(Prompt, {"template": OPTIONS_TEMPLATE, **options})
    request = Request(lalm.name, prompt=prompt, media_options=media_options)
    texts = [request.prompt.text(clip.question, names) for clip in clip_list]
    loader = BatchLoader(
        lalm.builder,
        clip_list,
        texts,
        lalm.device,
        padding_side="left",
        media_options=request.media_options,
        full_window=lalm.needs_full_window,
    )

    def score(batch: Batch) -> torch.Tensor:
        return answer_log_likelihoods(lalm, lalm.on_device(batch.inputs), names)

    batches = with_progress(forward_passes(loader, size, score), lalm, len(clip_list), shown=progress)
    results = collect_results(batches)
    return ZeroShot(
        clips=tuple(clip_list[row] for row in results.rows),
        classes=np.array(names),
        scores=np.empty((0, len(names))) if results.values is None else results.values.astype(np.float64),
        failures=describe_failures(results.failures, clip_list, texts),
        notes=results.describe(lalm.builder.window_seconds or math.inf),
    )
