"""A model and clips in, a cache of head vectors out.

Knows models, audio and files; knows nothing of classes or voting. The usual way through:

>>> from calm.extract import Request, extract_to_cache, find_clips
>>> report = extract_to_cache(find_clips("data/"), "heads.h5", Request(model="qwen2-audio"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calm.extract.audio import AudioError, Waveform, read_waveform
from calm.extract.cache import HeadCache, HeadRows
from calm.extract.cache_creation import create_cache, extend_cache
from calm.extract.cache_writer import CacheWriter
from calm.extract.clips import Clip, Columns, find_clips
from calm.extract.decoder import DecoderHeads, find_heads
from calm.extract.encode import EncodedBatch, head_vectors
from calm.extract.feed import FailedClip
from calm.extract.lalm import LALM
from calm.extract.models import load_lalm
from calm.extract.names import ALIASES, checkpoint_of, resolve_model
from calm.extract.perceive import Percept, perceive
from calm.extract.progress import progress_bar
from calm.extract.prompt import DEFAULT_QUESTION, Prompt
from calm.extract.request import Extraction, Fingerprint, Request
from calm.extract.run import ExtractionReport, extract_to_cache, fingerprint_of, prompt_texts
from calm.extract.senses import Senses
from calm.extract.video import Frames, VideoError, read_frames

if TYPE_CHECKING:
    from calm.extract.answers import answer_log_likelihoods
    from calm.extract.recorder import record_heads

__all__ = [
    "ALIASES",
    "DEFAULT_QUESTION",
    "LALM",
    "AudioError",
    "CacheWriter",
    "Clip",
    "Columns",
    "DecoderHeads",
    "EncodedBatch",
    "Extraction",
    "ExtractionReport",
    "FailedClip",
    "Fingerprint",
    "Frames",
    "HeadCache",
    "HeadRows",
    "Percept",
    "Prompt",
    "Request",
    "Senses",
    "VideoError",
    "Waveform",
    "answer_log_likelihoods",
    "checkpoint_of",
    "create_cache",
    "extend_cache",
    "extract_to_cache",
    "find_clips",
    "find_heads",
    "fingerprint_of",
    "head_vectors",
    "load_lalm",
    "perceive",
    "progress_bar",
    "prompt_texts",
    "read_frames",
    "read_waveform",
    "record_heads",
    "resolve_model",
]


def __getattr__(name: str) -> Any:
    # The two modules here that need torch to be imported.
    if name == "record_heads":
        from calm.extract.recorder import record_heads

        return record_heads
    if name == "answer_log_likelihoods":
        from calm.extract.answers import answer_log_likelihoods

        return answer_log_likelihoods
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
