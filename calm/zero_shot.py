"""Zero-shot classification: no support clips, only the names of the classes and the model's own likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calm.extract import DEFAULT_QUESTION, Clip, Prompt, load_lalm, progress_bar
from calm.extract.encode import read_batches

if TYPE_CHECKING:
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
    clips: Sequence[Any],
    labels: Sequence[str],
    *,
    question: str = DEFAULT_QUESTION,
    template: str = OPTIONS_TEMPLATE,
    batch_size: int = 8,
    progress: bool = False,
) -> ZeroShot:
    """Classify clips by how likely the model is to answer with each label.

    The likelihood is the mean over the tokens of an answer. No generation is involved: there is no answer that is none
    of the labels.

    Parameters
    ----------
    model : str or LALM
        As :func:`calm.extract.load_lalm` takes it, or loaded already.
    clips : sequence
        Paths, arrays or :class:`calm.extract.Clip`, as :func:`calm.find_clips` takes them.
    labels : sequence of str
        Names of the classes, as the model would say them.
    question, template : str
        What is asked, and how; the template may hold ``{question}`` and ``{options}``.
    batch_size : int
        Clips a forward pass.
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
    from calm.extract.answers import answer_log_likelihoods
    from calm.extract.clips import find_clips

    names = [str(label) for label in labels]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ValueError(f"zero_shot needs at least two labels, all different; got {names}")
    found = list(clips) if all(isinstance(clip, Clip) for clip in clips) else find_clips(list(clips))
    lalm = load_lalm(model) if isinstance(model, str) else model
    text = Prompt(template, question).text(options=names)
    chat = lalm.chat(text)
    scores, heard = [np.empty((0, len(names)))], list[Clip]()
    failures: dict[str, str] = {}
    with progress_bar(lalm, len(found), shown=progress) as bar:
        for waves, failed in read_batches(lalm, found, batch_size=batch_size):
            if waves:
                prompts = [chat] * len(waves)
                inputs = lalm.inputs([wave.samples for wave in waves.values()], prompts, padding_side="left")
                scores.append(answer_log_likelihoods(lalm, inputs, names).double().numpy())
            heard += [found[row] for row in waves]
            failures |= {found[row].name: clip.reason for row, clip in failed.items()}
            bar.update(len(waves) + len(failed))
    return ZeroShot(tuple(heard), np.array(names), np.concatenate(scores), failures)
