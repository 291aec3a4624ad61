"""calm: a frozen large audio-language model as a few-shot audio classifier.

>>> from calm import CALMClassifier, HeadExtractor

Whatever is heavy (torch, transformers, scikit-learn) is imported when it is first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calm.audio_prediction import AudioPrediction, predict_audio
    from calm.calm_classifier import CALMClassifier
    from calm.comparison import Comparison, compare
    from calm.episode import Episode, draw_episode
    from calm.evaluation import Evaluation, evaluate
    from calm.explanation import Explanation
    from calm.extract import HeadCache, Request, extract_to_cache, find_clips, load_lalm
    from calm.global_weight_classifier import GlobalWeightClassifier
    from calm.head_extractor import HeadExtractor
    from calm.linear_probe_classifier import LinearProbeClassifier
    from calm.loading import load
    from calm.methods import make_method
    from calm.nearest_mean_classifier import NearestMeanClassifier
    from calm.prompting import ZeroShot, zero_shot
    from calm.sav_classifier import SAVClassifier
    from calm.tuning import tune
    from calm.uniform_vote_classifier import UniformVoteClassifier

__version__ = "0.1.0"

_HOME = {
    "AudioPrediction": "calm.audio_prediction",
    "CALMClassifier": "calm.calm_classifier",
    "Comparison": "calm.comparison",
    "Episode": "calm.episode",
    "Evaluation": "calm.evaluation",
    "Explanation": "calm.explanation",
    "GlobalWeightClassifier": "calm.global_weight_classifier",
    "HeadCache": "calm.extract",
    "HeadExtractor": "calm.head_extractor",
    "LinearProbeClassifier": "calm.linear_probe_classifier",
    "NearestMeanClassifier": "calm.nearest_mean_classifier",
    "Request": "calm.extract",
    "SAVClassifier": "calm.sav_classifier",
    "UniformVoteClassifier": "calm.uniform_vote_classifier",
    "ZeroShot": "calm.prompting",
    "compare": "calm.comparison",
    "draw_episode": "calm.episode",
    "evaluate": "calm.evaluation",
    "extract_to_cache": "calm.extract",
    "find_clips": "calm.extract",
    "load": "calm.loading",
    "load_lalm": "calm.extract",
    "make_method": "calm.methods",
    "predict_audio": "calm.audio_prediction",
    "tune": "calm.tuning",
    "zero_shot": "calm.prompting",
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
