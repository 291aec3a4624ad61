"""Registry of classifiers by short name, and loading of saved classifiers."""

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
    """A registered classifier with its settings."""

    classifier: HeadClassifier  #: not fitted; a template to clone
    title: str  #: name in tables and plots


_REGISTRY = {
    "calm": Method(CALMClassifier(), "CALM"),
    "calm-published": Method(CALMClassifier.published(), "CALM, published"),
    "sav": Method(SAVClassifier(), "SAV"),
    "grw": Method(GlobalWeightClassifier(), "GRW"),
    "uniform": Method(UniformVoteClassifier(), "uniform vote, soft"),
    "uniform-hard": Method(UniformVoteClassifier(voting="hard"), "uniform vote, hard"),
    "nearest-mean": Method(NearestMeanClassifier(), "nearest class mean"),
    "linear-probe": Method(LinearProbeClassifier(), "linear probe"),
}

#: Classifiers by short name. They are templates: clone them before fitting.
METHODS: dict[str, HeadClassifier] = {name: method.classifier for name, method in _REGISTRY.items()}
#: Titles for tables and plots, by short name.
TITLES: dict[str, str] = {name: method.title for name, method in _REGISTRY.items()}
#: Classes by class name, which is what a saved file contains.
CLASSIFIERS: dict[str, type[HeadClassifier]] = {type(clf).__name__: type(clf) for clf in METHODS.values()}


def make_method(name: str, **parameters: object) -> HeadClassifier:
    """Make a classifier by its short name.

    Parameters
    ----------
    name : {"calm", "calm-published", "sav", "grw", "uniform", "uniform-hard", "nearest-mean", "linear-probe"}
        Short name of the method, as in ``calm fit --method``.
    **parameters
        Parameters of the classifier that replace its defaults.

    Returns
    -------
    HeadClassifier
        A classifier that is not fitted.

    Raises
    ------
    ValueError
        If there is no such method, the method has no such parameter, or a parameter is out of range.

    See Also
    --------
    calm.compare : Compare methods on the same support sets.
    calm.CALMClassifier : The method "calm".

    Examples
    --------
    >>> from calm import make_method
    >>> make_method("sav", top_heads=8)
    SAVClassifier(top_heads=8)
    """
    check_choice("method", name, tuple(METHODS))
    known = METHODS[name].get_params()
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        raise ValueError(f"method {name!r} has no parameter {unknown[0]!r}; its parameters are {', '.join(known)}")
    classifier = clone(METHODS[name]).set_params(**parameters)
    classifier._check_parameters()
    return classifier


def load(path: str | Path) -> HeadClassifier:
    """Load a fitted classifier from a file.

    The file is not trusted: it contains no code, and everything in it is validated before a classifier is built.

    Parameters
    ----------
    path : str or Path
        File that the ``save`` method of a classifier or ``calm fit`` wrote.

    Returns
    -------
    HeadClassifier
        Fitted classifier of the class that was saved.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not a saved classifier, is damaged, or has a format version that this version of calm cannot
        read.

    See Also
    --------
    calm.CALMClassifier.save : Save a fitted classifier.
    calm.predict_audio : Predict labels of audio clips with a fitted classifier.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from calm import CALMClassifier, load
    >>> X = np.random.default_rng(0).normal(size=(10, 3, 8))
    >>> clf = CALMClassifier().fit(X, np.repeat(["dog", "rain"], 5))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.save(f"{folder}/calm.safetensors")
    ...     loaded = load(f"{folder}/calm.safetensors")
    >>> bool((loaded.predict_proba(X) == clf.predict_proba(X)).all())
    True
    """
    header, arrays = read_classifier_file(Path(path))
    with damage_as_value_error(Path(path)):
        check_choice("classifier", header.classifier, tuple(CLASSIFIERS))
        return CLASSIFIERS[header.classifier].from_file(header, arrays)
