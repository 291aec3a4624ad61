"""The classifiers by short names, with the settings under which they are compared."""

from __future__ import annotations

from sklearn.base import clone

from calm.classifiers.base import HeadClassifier
from calm.classifiers.calm import CALMClassifier
from calm.classifiers.global_weights import GlobalWeightClassifier
from calm.classifiers.linear_probe import LinearProbeClassifier
from calm.classifiers.nearest_mean import NearestMeanClassifier
from calm.classifiers.sav import SAVClassifier
from calm.classifiers.uniform_vote import UniformVoteClassifier
from calm.fit.checks import check_choice

METHODS: dict[str, HeadClassifier] = {
    "calm": CALMClassifier(),
    "calm-published": CALMClassifier.published(),
    "sav": SAVClassifier(),
    "grw": GlobalWeightClassifier(),
    "uniform": UniformVoteClassifier(),
    "uniform-hard": UniformVoteClassifier(voting="hard"),
    "nearest-mean": NearestMeanClassifier(),
    "linear-probe": LinearProbeClassifier(),
}

#: How they are written in tables.
TITLES = {
    "calm": "CALM",
    "calm-published": "CALM, published",
    "sav": "SAV",
    "grw": "GRW",
    "uniform": "uniform vote, soft",
    "uniform-hard": "uniform vote, hard",
    "nearest-mean": "nearest class mean",
    "linear-probe": "linear probe",
}


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
