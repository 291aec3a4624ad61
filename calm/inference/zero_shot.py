"""Zero-shot classification: no support clips, only the names of the classes and the model's own likelihood."""

from __future__ import annotations

from collections.abc import Sequence
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
from calm.options import build_group, document_options, options_of

if TYPE_CHECKING:
    import torch

    from calm.extract import LALM

#: What models that follow instructions are asked.
OPTIONS_TEMPLATE = "{question} Choose from: {options}."

#: A forward pass, unless told otherwise: answers are continued from what is kept of all of them.
_CLIPS = 8


@dataclass(frozen=True)
class ZeroShot:
    """What a model answers about some clips."""

    clips: tuple[Clip, ...]  #: those that could be read, n of them
    classes: NDArray[np.str_]  #: (C,), in the order they were given
    scores: NDArray[np.float64]  #: mean log likelihood of the tokens of each class's name, (n, C)
    failures: dict[str, str]  #: why the other clips failed, by name

    @property
    def labels(self) -> NDArray[np.str_]:
        """The most likely class of each clip, (n,)."""
        return self.classes[self.scores.argmax(axis=1)]


@document_options(Prompt, MediaOptions)
def zero_shot(
    model: str | LALM,
    clips: str | Path | Sequence[Any],
    labels: Sequence[str],
    *,
    batch_size: int | None = None,
    progress: bool = False,
    **options: Any,
) -> ZeroShot:
    """Classify clips by how likely the model is to answer with each label.

    The likelihood is the mean over the tokens of an answer. No generation is involved: there is no answer that is none
    of the labels.

    Parameters
    ----------
    model : str or LALM
        As :func:`calm.extract.load_lalm` takes it, or loaded already.
    clips : path or sequence
        A folder, a manifest, or paths, arrays or :class:`calm.extract.Clip` one by one: what :func:`calm.find_clips`
        takes or gives. A clip's own question is asked in place of ``question``.
    labels : sequence of str
        Names of the classes, as the model would say them.
    batch_size : int, default=None
        Clips a forward pass, fewer from where memory was short; 8 unless given.
    progress : bool, default=False
        Show a progress bar, where standard error is a terminal.
    {options}
        Here, the template is ``"{question} Choose from: {options}."`` unless given.

    Returns
    -------
    ZeroShot

    Raises
    ------
    ValueError
        If there are fewer than two different labels, or the model is unknown.

    Examples
    --------
    >>> from calm.sounds import make_sounds
    >>> waves, _ = make_sounds(n_classes=1, n_per_class=2)
    >>> zero_shot("tiny", waves, ["bell", "wind", "motor"]).scores.shape
    (2, 3)
    """
    from calm.extract import answer_log_likelihoods

    names = [] if isinstance(labels, str) else [str(label) for label in labels]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ValueError(f"zero_shot needs at least two labels, all different; got {labels!r}")
    size = BatchSize(_CLIPS if batch_size is None else batch_size)
    found = _clips_of(clips)
    lalm = load_lalm(model) if isinstance(model, str) else model
    media_options = build_group(
        MediaOptions, {name: options.pop(name) for name in options_of(MediaOptions) if name in options}
    )
    prompt = build_group(Prompt, {"template": OPTIONS_TEMPLATE, **options})
    request = Request(lalm.name, prompt=prompt, media_options=media_options)
    texts = [request.prompt.text(clip.question, names) for clip in found]
    loader = BatchLoader(
        lalm.builder,
        found,
        texts,
        lalm.device,
        padding_side="left",
        media_options=request.media_options,
        full_window=lalm.needs_full_window,
    )

    def likelihoods_of(batch: Batch) -> torch.Tensor:
        return answer_log_likelihoods(lalm, lalm.on_device(batch.inputs), names)

    batches = with_progress(forward_passes(loader, size, likelihoods_of), lalm, len(found), shown=progress)
    answers = collect_results(batches)
    return ZeroShot(
        clips=tuple(found[row] for row in answers.rows),
        classes=np.array(names),
        scores=np.empty((0, len(names))) if answers.values is None else answers.values.astype(np.float64),
        failures=describe_failures(answers.failures, found, texts),
    )


def _clips_of(clips: str | Path | Sequence[Any]) -> list[Clip]:
    if isinstance(clips, str | Path):
        return find_clips(clips)
    clips = list(clips)
    if all(isinstance(clip, Clip) for clip in clips):
        return clips
    if any(isinstance(clip, Clip) for clip in clips):
        raise ValueError("clips must be all of one kind: found by find_clips, or paths and arrays")
    return find_clips(clips)
