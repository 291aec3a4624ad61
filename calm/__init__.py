"""calm: a frozen large audio-language model as a few-shot audio classifier.

>>> from calm import CALMClassifier, HeadExtractor

Whatever is heavy (torch, transformers, scikit-learn) is imported when it is first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calm.classifiers.calm import CALMClassifier
    from calm.classifiers.explanation import Explanation
    from calm.classifiers.global_weights import GlobalWeightClassifier
    from calm.classifiers.linear_probe import LinearProbeClassifier
    from calm.classifiers.nearest_mean import NearestMeanClassifier
    from calm.classifiers.registry import load, make_method
    from calm.classifiers.sav import SAVClassifier
    from calm.classifiers.tuning import tune
    from calm.classifiers.uniform_vote import UniformVoteClassifier
    from calm.evaluation.comparison import Comparison, compare
    from calm.evaluation.episodes import Episode, draw_episode
    from calm.evaluation.scores import Evaluation, evaluate
    from calm.extract import HeadCache, Request, extract_to_cache, find_clips, load_lalm
    from calm.inference.head_extractor import HeadExtractor
    from calm.inference.prediction import AudioPrediction, predict_audio
    from calm.inference.zero_shot import ZeroShot, zero_shot

__version__ = "0.1.0"

_HOME = {
    "AudioPrediction": "calm.inference.prediction",
    "CALMClassifier": "calm.classifiers.calm",
    "Comparison": "calm.evaluation.comparison",
    "Episode": "calm.evaluation.episodes",
    "Evaluation": "calm.evaluation.scores",
    "Explanation": "calm.classifiers.explanation",
    "GlobalWeightClassifier": "calm.classifiers.global_weights",
    "HeadCache": "calm.extract",
    "HeadExtractor": "calm.inference.head_extractor",
    "LinearProbeClassifier": "calm.classifiers.linear_probe",
    "NearestMeanClassifier": "calm.classifiers.nearest_mean",
    "Request": "calm.extract",
    "SAVClassifier": "calm.classifiers.sav",
    "UniformVoteClassifier": "calm.classifiers.uniform_vote",
    "ZeroShot": "calm.inference.zero_shot",
    "compare": "calm.evaluation.comparison",
    "draw_episode": "calm.evaluation.episodes",
    "evaluate": "calm.evaluation.scores",
    "extract_to_cache": "calm.extract",
    "find_clips": "calm.extract",
    "load": "calm.classifiers.registry",
    "load_lalm": "calm.extract",
    "make_method": "calm.classifiers.registry",
    "predict_audio": "calm.inference.prediction",
    "tune": "calm.classifiers.tuning",
    "zero_shot": "calm.inference.zero_shot",
}

__all__ = [
    "AudioPrediction",
    "CALMClassifier",
    "Comparison",
    "Episode",
    "Evaluation",
    "Explanation",
    "GlobalWeightClassifier",
    "HeadCache",
    "HeadExtractor",
    "LinearProbeClassifier",
    "NearestMeanClassifier",
    "Request",
    "SAVClassifier",
    "UniformVoteClassifier",
    "ZeroShot",
    "compare",
    "draw_episode",
    "evaluate",
    "extract_to_cache",
    "find_clips",
    "load",
    "load_lalm",
    "make_method",
    "predict_audio",
    "tune",
    "zero_shot",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
