"""From nothing to a result: synthesized sounds through a model, few-shot methods beside zero-shot prompting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calm.classifiers.calm import CALMClassifier
from calm.classifiers.registry import TITLES
from calm.evaluation.comparison import Comparison, compare
from calm.evaluation.episodes import draw_episode
from calm.evaluation.plots import new_figure, plot_bars, plot_head_weights
from calm.evaluation.scores import Evaluation, evaluate
from calm.extract import HeadCache, Request, extract_to_cache, find_clips
from calm.inference.zero_shot import zero_shot
from calm.sounds import RATE, make_sounds
from calm.unique_warnings import show_each_warning_once

if TYPE_CHECKING:
    from calm.extract import LALM

#: What is shown beside CALM.
METHODS = ("calm", "sav", "uniform", "nearest-mean", "linear-probe")
ZERO_SHOT = "zero-shot prompting"


@dataclass(frozen=True)
class Demo:
    """What a demonstration found, and where it lies."""

    sounds: Path  #: a folder with one sub-folder a kind
    cache: Path
    classifier: Path  #: the first support set's
    plot: Path | None  #: None without matplotlib
    shots: int
    comparison: Comparison
    zero_shot: Evaluation  #: of all clips

    @property
    def accuracy(self) -> Mapping[str, tuple[float, float]]:
        """Accuracy of everything, by title, with half its 95 % interval."""
        few_shot = {
            TITLES[name]: (float(self.comparison.mean(name)[0]), float(self.comparison.half_width(name)[0]))
            for name in self.comparison.accuracy
        }
        low, high = self.zero_shot.interval
        return few_shot | {ZERO_SHOT: (self.zero_shot.accuracy, (high - low) / 2)}

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return 1 / len(self.zero_shot.classes)


def run_demo(
    out: str | Path = "calm-demo",
    *,
    model: str = "tiny",
    n_classes: int = 8,
    n_per_class: int = 25,
    shots: int = 5,
    support_sets: int = 10,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
) -> Demo:
    """Make sounds, extract their head vectors, and compare few-shot methods and zero-shot prompting on them.

    Nothing is downloaded for ``tiny``.

    Parameters
    ----------
    out : path
        A folder that is not there yet, or empty.
    model : str
        As :func:`calm.load_lalm` takes it.
    n_classes, n_per_class, seed
        Of :func:`calm.sounds.make_sounds`.
    shots : int
        Support clips a class.
    support_sets : int
        Over how many the accuracies are averaged.
    device : str, optional
        See :func:`calm.load_lalm`.
    progress : bool
        Show progress bars, where standard error is a terminal.

    Returns
    -------
    Demo

    Raises
    ------
    FileExistsError
        If there is something in the folder already.
    ValueError
        If there are no more clips a class than shots.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     demo = run_demo(folder, n_classes=2, n_per_class=4, shots=2, support_sets=2)
    >>> sorted(demo.accuracy)
    ['CALM', 'SAV', 'linear probe', 'nearest class mean', 'uniform vote, soft', 'zero-shot prompting']
    """
    if n_classes < 2 or support_sets < 1:
        raise ValueError(f"there must be two classes and one support set at least, got {n_classes} and {support_sets}")
    if n_per_class <= shots:
        raise ValueError(f"with {n_per_class} clips a class and {shots} shots no clip is left to score on")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} is there already: remove it, or name another folder")
    request = Request(model, device=device)
    lalm = request.load()
    sounds = write_sounds(out / "sounds", *make_sounds(n_classes, n_per_class, seed=seed))
    extract_to_cache(find_clips(sounds), out / "heads.h5", request, lalm=lalm, progress=progress)
    with show_each_warning_once(), HeadCache(out / "heads.h5") as cache:
        comparison = compare(cache, (shots,), support_sets=support_sets, methods=METHODS)
        support = draw_episode(cache, shots, 0).support
        fitted = CALMClassifier().fit(support, support.labels)
    fitted.save(out / "calm.safetensors")
    demo = Demo(
        sounds=sounds,
        cache=out / "heads.h5",
        classifier=out / "calm.safetensors",
        plot=out / "demo.png",
        shots=shots,
        comparison=comparison,
        zero_shot=_ask(lalm, sounds, progress),
    )
    return _plotted(demo, fitted)


def write_sounds(folder: str | Path, waves: NDArray[np.float32], labels: NDArray[np.str_]) -> Path:
    """Write waves as wav files into one sub-folder a label, as ``calm extract`` takes them; returns the folder."""
    import soundfile

    folder = Path(folder)
    for number, (wave, label) in enumerate(zip(waves, labels, strict=True)):
        own = folder / str(label)
        own.mkdir(parents=True, exist_ok=True)
        soundfile.write(own / f"{number:03}.wav", wave, RATE)
    return folder


def _ask(lalm: LALM, sounds: Path, progress: bool) -> Evaluation:
    clips = find_clips(sounds)
    labels = sorted({str(clip.label) for clip in clips})
    answers = zero_shot(lalm, clips, labels, progress=progress)
    return evaluate([str(clip.label) for clip in answers.clips], answers.labels)


def _plotted(demo: Demo, fitted: CALMClassifier) -> Demo:
    try:
        figure, (left, right) = new_figure(2, 13, 4.2)
    except ImportError:
        return replace(demo, plot=None)
    plot_bars(left, demo.accuracy, demo.chance)
    left.set_title(f"{demo.shots} labelled clips a class, none for prompting", fontsize=10)
    plot_head_weights(right, fitted)
    figure.savefig(demo.plot, dpi=120)
    return demo
