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
    from calm.episode import Episode, draw_episode
    from calm.evaluation import Evaluation, evaluate
    from calm.extract import HeadCache, Request, extract_to_cache, find_clips, load_lalm
    from calm.head_extractor import HeadExtractor
    from calm.loading import load
    from calm.sav_classifier import SAVClassifier

__version__ = "0.1.0"

_HOME = {
    "AudioPrediction": "calm.audio_prediction",
    "CALMClassifier": "calm.calm_classifier",
    "Episode": "calm.episode",
    "Evaluation": "calm.evaluation",
    "HeadCache": "calm.extract",
    "HeadExtractor": "calm.head_extractor",
    "Request": "calm.extract",
    "SAVClassifier": "calm.sav_classifier",
    "draw_episode": "calm.episode",
    "evaluate": "calm.evaluation",
    "extract_to_cache": "calm.extract",
    "find_clips": "calm.extract",
    "load": "calm.loading",
    "load_lalm": "calm.extract",
    "predict_audio": "calm.audio_prediction",
}

__all__ = [
    "AudioPrediction",
    "CALMClassifier",
    "Episode",
    "Evaluation",
    "HeadCache",
    "HeadExtractor",
    "Request",
    "SAVClassifier",
    "draw_episode",
    "evaluate",
    "extract_to_cache",
    "find_clips",
    "load",
    "load_lalm",
    "predict_audio",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
