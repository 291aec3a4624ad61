"""Reading back a fitted classifier of any kind."""

from __future__ import annotations

from pathlib import Path

from calm.base import HeadClassifier
from calm.calm_classifier import CALMClassifier
from calm.classifier_file import read_classifier_file
from calm.global_weight_classifier import GlobalWeightClassifier
from calm.linear_probe_classifier import LinearProbeClassifier
from calm.nearest_mean_classifier import NearestMeanClassifier
from calm.sav_classifier import SAVClassifier
from calm.uniform_vote_classifier import UniformVoteClassifier

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
