"""Demonstrate calm on synthesized clips: extraction, few-shot methods, and zero-shot prompting."""

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
from calm.evaluation.plots import new_figure, plot_accuracies, plot_head_weights
from calm.evaluation.scores import Evaluation, evaluate
from calm.extract import HeadCache, Request, extract_to_cache, find_clips
from calm.inference.zero_shot import zero_shot
from calm.sounds import RATE, make_sounds
from calm.unique_warnings import show_each_warning_once

if TYPE_CHECKING:
    from calm.extract import LALM

#: Short names of the few-shot methods that are compared.
METHODS = ("calm", "sav", "uniform", "nearest-mean", "linear-probe")
#: Title of the zero-shot baseline in tables and plots.
ZERO_SHOT = "zero-shot prompting"


@dataclass(frozen=True)
class Demo:
    """Results of a demonstration, and the files that it wrote.

    :func:`run_demo` returns it.

    Attributes
    ----------
    sounds : Path
        Folder of the synthesized clips, with one sub-folder per class.
    cache : Path
        Head cache of all clips.
    classifier : Path
        CALM classifier that is fitted on the first support set.
    plot : Path or None
        Plot of the accuracies and of the head weights. None if matplotlib is not installed.
    shots : int
        Number of support clips per class.
    comparison : Comparison
        Accuracies of the few-shot methods.
    zero_shot : Evaluation
        Scores of zero-shot prompting on all clips.
    model : str
        Name of the model.
    """

    sounds: Path
    cache: Path
    classifier: Path
    plot: Path | None
    shots: int
    comparison: Comparison
    zero_shot: Evaluation
    model: str

    @property
    def accuracy(self) -> Mapping[str, tuple[float, float]]:
        """Accuracy of each method by its title, and half the width of its 95 % confidence interval."""
        few_shot = {
            TITLES[name]: (float(self.comparison.mean(name)[0]), float(self.comparison.half_width(name)[0]))
            for name in self.comparison.accuracy
        }
        low, high = self.zero_shot.interval
        return few_shot | {ZERO_SHOT: (self.zero_shot.accuracy, (high - low) / 2)}

    @property
    def chance(self) -> float:
        """Accuracy of a random guess."""
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
    """Compare few-shot methods with zero-shot prompting on synthesized clips.

    The function synthesizes clips, extracts their head vectors, fits the few-shot methods on several support sets, and
    writes the clips, the head cache, a fitted CALM classifier and a plot into one folder. It downloads nothing if the
    model is ``tiny``.

    Parameters
    ----------
    out : str or Path, default="calm-demo"
        Folder to write to. It must be empty, or not exist yet.
    model : str, default="tiny"
        Alias, hub id or local folder of the model, as :func:`calm.load_lalm` accepts it.
    n_classes : int, default=8
        Number of classes, which are kinds of sound.
    n_per_class : int, default=25
        Number of clips per class.
    shots : int, default=5
        Number of support clips per class.
    support_sets : int, default=10
        Number of support sets over which the accuracies are averaged.
    seed : int, default=0
        Random seed of the synthesized clips.
    device : str, default=None
        Device of the model, for example ``"cpu"`` or ``"cuda:1"``. None means the first accelerator, or the CPU.
    progress : bool, default=False
        Whether to show progress bars if standard error is a terminal.

    Returns
    -------
    Demo
        Accuracies, and the paths of the files.

    Raises
    ------
    FileExistsError
        If the folder is not empty.
    ValueError
        If there are fewer than two classes, no support set, or not more clips per class than shots.

    See Also
    --------
    calm.sounds.make_sounds : Synthesize labelled clips.
    calm.compare : Compare few-shot methods on a head cache of your own clips.
    calm.zero_shot : Classify clips by prompting the model.

    Examples
    --------
    >>> import tempfile
    >>> from calm.demo import run_demo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     demo = run_demo(folder, n_classes=2, n_per_class=4, shots=2, support_sets=2)
    >>> sorted(demo.accuracy)
    ['CALM', 'SAV', 'linear probe', 'nearest class mean', 'uniform vote, soft', 'zero-shot prompting']
    """
    if n_classes < 2 or support_sets < 1:
        raise ValueError(
            f"n_classes must be at least 2 and support_sets at least 1, got n_classes={n_classes} and "
            f"support_sets={support_sets}"
        )
    if n_per_class <= shots:
        raise ValueError(
            f"no query clips are left with {n_per_class} clips per class and {shots} shots: use fewer shots"
        )
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not an empty folder: remove it, or choose another folder")
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
        zero_shot=_evaluate_zero_shot(lalm, sounds, progress),
        model=model,
    )
    return _plot_demo(demo, fitted)


def write_sounds(folder: str | Path, waves: NDArray[np.float32], labels: NDArray[np.str_]) -> Path:
    """Write waveforms as WAV files, with one sub-folder per label.

    Parameters
    ----------
    folder : str or Path
        Folder to write to. It is created if needed.
    waves : ndarray of shape (n_clips, n_samples)
        Waveforms at 16 kHz, between -1 and 1.
    labels : ndarray of shape (n_clips,)
        Label of each waveform.

    Returns
    -------
    Path
        The folder, which :func:`calm.find_clips` and ``calm extract`` accept.

    Examples
    --------
    >>> import tempfile
    >>> from calm import find_clips
    >>> from calm.demo import write_sounds
    >>> from calm.sounds import make_sounds
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sounds = write_sounds(folder, *make_sounds(n_classes=2, n_per_class=3))
    ...     len(find_clips(sounds))
    6
    """
    import soundfile

    folder = Path(folder)
    for number, (wave, label) in enumerate(zip(waves, labels, strict=True)):
        label_folder = folder / str(label)
        label_folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(label_folder / f"{number:03}.wav", wave, RATE)
    return folder


def _evaluate_zero_shot(lalm: LALM, sounds: Path, progress: bool) -> Evaluation:
    """Score zero-shot prompting on all clips of a folder."""
    clips = find_clips(sounds)
    labels = sorted({str(clip.label) for clip in clips})
    result = zero_shot(lalm, clips, labels, progress=progress)
    return evaluate([str(clip.label) for clip in result.clips], result.labels)


def _plot_demo(demo: Demo, fitted: CALMClassifier) -> Demo:
    """Write the plot of a demonstration; without matplotlib, return the demonstration with ``plot=None``."""
    n_classes = len(fitted.classes_)
    try:
        figure, (left_axis, right_axis) = new_figure(2, 13.5, max(4.4, 0.22 * n_classes + 2))
    except ImportError:
        return replace(demo, plot=None)
    clips = demo.zero_shot.clips
    plot_accuracies(
        left_axis,
        demo.accuracy,
        demo.chance,
        whiskers=f"whiskers: 95 % interval of the mean over {demo.comparison.support_sets} support sets;\n"
        f"for zero-shot prompting, which has none, 95 % interval over {clips} clips",
    )
    plot_head_weights(right_axis, fitted)
    figure.suptitle(
        f"model {demo.model}, {clips} clips of {n_classes} classes, {demo.shots} support clips per class", fontsize=11
    )
    figure.savefig(demo.plot, dpi=120)
    return demo
