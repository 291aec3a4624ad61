"""Reading back a fitted classifier of any kind."""

from __future__ import annotations

from pathlib import Path

from calm.classifiers.base import HeadClassifier
from calm.classifiers.calm import CALMClassifier
from calm.classifiers.file import read_classifier_file
from calm.classifiers.global_weights import GlobalWeightClassifier
from calm.classifiers.linear_probe import LinearProbeClassifier
from calm.classifiers.nearest_mean import NearestMeanClassifier
from calm.classifiers.sav import SAVClassifier
from calm.classifiers.uniform_vote import UniformVoteClassifier

_ALL: tuple[type[HeadClassifier], ...] = (
    CALMClassifier,
    SAVClassifier,
    GlobalWeightClassifier,
    UniformVoteClassifier,
    NearestMeanClassifier,
    LinearProbeClassifier,
)
CLASSIFIERS: dict[str, type[HeadClassifier]] = {classifier.__name__: classifier for classifier in _ALL}


def load(path: str | Path) -> HeadClassifier:
    """Read a classifier that was saved.

    Returns
    -------
    HeadClassifier
        Of the class that was saved, fitted.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a saved classifier, is damaged, or was written by a newer version.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(10, 3, 8))
    >>> clf = CALMClassifier().fit(X, np.repeat(["dog", "rain"], 5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.save(f"{folder}/calm.safetensors")
    ...     again = load(f"{folder}/calm.safetensors")
    >>> bool((again.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    header, tensors = read_classifier_file(Path(path))
    try:
        return CLASSIFIERS[header["classifier"]].from_description(header, tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or of another version of calm: {error}") from error
