"""A model and clips in, a cache of head vectors out.

Knows models, audio and files; knows nothing of classes or voting. The usual way through:

>>> from calm.extract import Request, extract_to_cache, find_clips
>>> report = extract_to_cache(find_clips("data/"), "heads.h5", Request(model="qwen2-audio"))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calm.extract.cache.creation import create_cache, extend_cache
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.rows import HeadRows
from calm.extract.cache.writer import CacheWriter
from calm.extract.forward.feed import FailedClip
from calm.extract.forward.head_vectors import EncodedBatch, head_vectors
from calm.extract.media.audio import AudioError, Waveform, read_waveform
from calm.extract.media.find import Clip, Columns, find_clips
from calm.extract.media.perceive import Percept, perceive
from calm.extract.media.video import Frames, VideoError, read_frames
from calm.extract.models.decoder import DecoderHeads, find_heads
from calm.extract.models.lalm import LALM
from calm.extract.models.loading import load_lalm
from calm.extract.models.names import ALIASES, checkpoint_of, resolve_model
from calm.extract.progress import progress_bar
from calm.extract.prompt import DEFAULT_QUESTION, Prompt
from calm.extract.request import Extraction, Fingerprint, Request
from calm.extract.run import ExtractionReport, extract_to_cache, fingerprint_of, prompt_texts
from calm.extract.senses import Senses

if TYPE_CHECKING:
    from calm.extract.forward.answers import answer_log_likelihoods
    from calm.extract.forward.recorder import record_heads

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
        from calm.extract.forward.recorder import record_heads

        return record_heads
    if name == "answer_log_likelihoods":
        from calm.extract.forward.answers import answer_log_likelihoods

        return answer_log_likelihoods
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
