"""The classifiers by short names, with the settings under which they are compared, and reading a saved one back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sklearn.base import clone

from calm.classifiers.base import HeadClassifier
from calm.classifiers.calm import CALMClassifier
from calm.classifiers.file import damage_as_value_error, read_classifier_file
from calm.classifiers.global_weights import GlobalWeightClassifier
from calm.classifiers.linear_probe import LinearProbeClassifier
from calm.classifiers.nearest_mean import NearestMeanClassifier
from calm.classifiers.sav import SAVClassifier
from calm.classifiers.uniform_vote import UniformVoteClassifier
from calm.fit.checks import check_choice


@dataclass(frozen=True)
class Method:
    """A classifier to compare with others."""

    classifier: HeadClassifier  #: its class and its settings, not fitted
    title: str  #: how it is written in tables


_TABLE = {
    "calm": Method(CALMClassifier(), "CALM"),
    "calm-published": Method(CALMClassifier.published(), "CALM, published"),
    "sav": Method(SAVClassifier(), "SAV"),
    "grw": Method(GlobalWeightClassifier(), "GRW"),
    "uniform": Method(UniformVoteClassifier(), "uniform vote, soft"),
    "uniform-hard": Method(UniformVoteClassifier(voting="hard"), "uniform vote, hard"),
    "nearest-mean": Method(NearestMeanClassifier(), "nearest class mean"),
    "linear-probe": Method(LinearProbeClassifier(), "linear probe"),
}

METHODS: dict[str, HeadClassifier] = {name: method.classifier for name, method in _TABLE.items()}
TITLES: dict[str, str] = {name: method.title for name, method in _TABLE.items()}
#: By the names of their classes, as files have them.
CLASSIFIERS: dict[str, type[HeadClassifier]] = {type(made).__name__: type(made) for made in METHODS.values()}


def make_method(name: str, **parameters: object) -> HeadClassifier:
    """Make a classifier, not fitted, by its short name.

    Raises
    ------
    ValueError
        If there is no such method, or it has no such parameter.

    Examples
    --------
    >>> make_method("sav", top_heads=8)
    SAVClassifier(top_heads=8)
    """
    check_choice("method", name, tuple(METHODS))
    return clone(METHODS[name]).set_params(**parameters)


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
        If it is not a saved classifier, is damaged, or was written by a newer version. Nothing in a file is trusted:
        what loads is whole and consistent.

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
    header, arrays = read_classifier_file(Path(path))
    with damage_as_value_error(Path(path)):
        check_choice("classifier", header.classifier, tuple(CLASSIFIERS))
        return CLASSIFIERS[header.classifier].from_file(header, arrays)
