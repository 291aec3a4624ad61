"""Zero-shot classification: no support clips, only the names of the classes and the model's own likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calm.extract import Clip, Request, find_clips, load_lalm, progress_bar
from calm.extract.forward.feed import Batch, BatchSize, Feed
from calm.extract.forward.passes import passes

if TYPE_CHECKING:
    import torch

    from calm.extract import LALM

#: What models that follow instructions are asked.
OPTIONS_TEMPLATE = "{question} Choose from: {options}."


@dataclass(frozen=True)
class ZeroShot:
    """What a model answers about some clips."""

    clips: tuple[Clip, ...]  #: those that could be read, n of them
    classes: NDArray[np.str_]  #: (C,), in the order they were given
    scores: NDArray[np.float64]  #: mean log likelihood of the tokens of each class's name, (n, C)
    failures: dict[str, str]  #: why the other clips could not be read, by name

    @property
    def labels(self) -> NDArray[np.str_]:
        """The most likely class of each clip, (n,)."""
        return self.classes[self.scores.argmax(axis=1)]


def zero_shot(
    model: str | LALM,
    clips: str | Path | Sequence[Any],
    labels: Sequence[str],
    *,
    question: str | None = None,
    template: str = OPTIONS_TEMPLATE,
    modality: str = "audio",
    fps: float | None = None,
    max_pixels: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
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
    question, template : str
        What is asked, and how; the template may hold ``{question}`` and ``{options}``.
    modality : {"audio", "visual", "audio-visual"}
        What of a clip the model is given.
    fps, max_pixels : float and int, optional
        Frames of each second of a video, and how large they may be; see :class:`calm.extract.Senses`.
    batch_size : int, optional
        Clips a forward pass, fewer from where memory was short; 8 unless given.
    progress : bool
        Show a progress bar, where standard error is a terminal.

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
    from calm.extract.forward.answers import answer_log_likelihoods

    names = [] if isinstance(labels, str) else [str(label) for label in labels]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ValueError(f"zero_shot needs at least two labels, all different; got {labels!r}")
    found = _clips_of(clips)
    lalm = load_lalm(model) if isinstance(model, str) else model
    request = Request(
        lalm.name, template=template, question=question, modality=modality, fps=fps, max_pixels=max_pixels
    )
    texts = [request.prompt.text(clip.question, names) for clip in found]
    feed = Feed(lalm, found, texts, padding_side="left", senses=request.senses)

    def likelihoods_of(batch: Batch) -> torch.Tensor:
        return answer_log_likelihoods(lalm, lalm.on_device(batch.inputs), names)

    scores, heard = [np.empty((0, len(names)))], [np.empty(0, dtype=np.int64)]
    failures: dict[str, str] = {}
    with progress_bar(lalm, len(found), shown=progress) as bar:
        for batch, likelihoods in passes(feed, BatchSize(batch_size or 8), likelihoods_of):
            if likelihoods is not None:
                scores.append(likelihoods.double().numpy())
            heard.append(batch.rows)
            failures |= {found[row].name: clip.reason for row, clip in batch.failed.items()}
            bar.update(len(batch.rows) + len(batch.failed))
    rows = np.concatenate(heard)
    order = rows.argsort()
    return ZeroShot(tuple(found[row] for row in rows[order]), np.array(names), np.concatenate(scores)[order], failures)


def _clips_of(clips: str | Path | Sequence[Any]) -> list[Clip]:
    if isinstance(clips, str | Path):
        return find_clips(clips)
    clips = list(clips)
    if all(isinstance(clip, Clip) for clip in clips):
        return clips
    if any(isinstance(clip, Clip) for clip in clips):
        raise ValueError("clips must be all of one kind: found by find_clips, or paths and arrays")
    return find_clips(clips)
