"""Extraction as a scikit-learn transformer, from paths or waveforms to head vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from calm.extract import (
    Batching,
    Extraction,
    HeadArray,
    Request,
    collect_results,
    compute_fingerprint,
    find_clips,
    head_vectors,
    prompt_texts,
    resolve_request,
)
from calm.options import document_options

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from calm.extract import LALM, Placement


@document_options(Request, Batching, leave_out=("workers",))
class HeadExtractor(TransformerMixin, BaseEstimator):
    """Turn clips into head vectors with a frozen large audio-language model; the first step of a pipeline.

    There is nothing to fit. The model is loaded at the first transform and shared between clones, so that
    cross-validation does not load it again.

    Parameters
    ----------
    {options}

    See Also
    --------
    calm.extract_to_cache : Extracts into a file that can be gone on with.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from calm import CALMClassifier
    >>> time = np.arange(16000) / 16000
    >>> clips = [np.sin(2 * np.pi * pitch * time) for pitch in (200, 210, 2000, 2100)]
    >>> pipe = make_pipeline(HeadExtractor("tiny"), CALMClassifier())
    >>> pipe.fit(clips, ["low", "low", "high", "high"]).predict([np.sin(2 * np.pi * 2050 * time)])
    array(['high'], dtype='<U4')
    >>> pipe[-1].head_names_[9]
    np.str_('layer 1 · head 1')
    """

    def __init__(
        self,
        model: str,
        *,
        template: str = "{question}",
        question: str | None = None,
        modality: str = "audio",
        fps: float | None = None,
        max_pixels: int | None = None,
        tokens: int = 1,
        max_seconds: float | None = None,
        revision: str | None = None,
        dtype: str | None = None,
        quantize: str | None = None,
        device: str | None = None,
        device_map: str | None = None,
        attention: str | None = None,
        trust_remote_code: bool = False,
        batch_size: int | None = None,
    ) -> None:
        self.model = model
        self.template = template
        self.question = question
        self.modality = modality
        self.fps = fps
        self.max_pixels = max_pixels
        self.tokens = tokens
        self.max_seconds = max_seconds
        self.revision = revision
        self.dtype = dtype
        self.quantize = quantize
        self.device = device
        self.device_map = device_map
        self.attention = attention
        self.trust_remote_code = trust_remote_code
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> Self:
        """Do nothing: the model is frozen."""
        return self

    def transform(self, X: Sequence[Any]) -> HeadArray:
        """Extract the head vectors of some clips.

        Parameters
        ----------
        X : sequence
            Paths, mono or ``(samples, channels)`` arrays at the model's rate, or ``(array, rate)`` pairs.

        Returns
        -------
        HeadArray of float32 (n, layers, heads, dim)
            An array that knows how it was made, so that a classifier fitted on it can be saved for ``calm predict``.

        Raises
        ------
        ValueError
            If a clip cannot be read: a transformer answers for every clip or for none. To leave bad clips out,
            extract into a cache.
        """
        if isinstance(X, str | Path):
            raise ValueError(f"X must be a sequence of clips; for one clip, give [{X!r}]")
        clips = find_clips(list(X))
        options = self.get_params(deep=False)
        batch_size = options.pop("batch_size")
        request = Request(**options)
        texts = prompt_texts(clips, request.prompt)
        with _TURN:
            lalm = _load(request.model, request.revision, request.dtype, request.quantize, request.placement)
        asked = resolve_request(request, lalm.commit, lalm.dtype)
        made_so = Extraction(asked, compute_fingerprint(lalm, request), texts[0] if texts else None)
        found = collect_results(
            head_vectors(
                lalm,
                clips,
                texts,
                media_options=request.media_options,
                tokens=request.tokens,
                max_seconds=request.max_seconds,
                batch_size=batch_size,
            )
        )
        if found.failures:
            first = found.failures[0]
            raise ValueError(
                f"{len(found.failures)} of {len(clips)} clips failed; {clips[first.row].name}: {first.reason}"
            )
        none = np.empty((0, *lalm.heads.shape), dtype=np.float32)
        return HeadArray(none if found.values is None else found.values, made_so)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        return tags


@lru_cache(maxsize=1)
def _load(model: str, revision: str | None, dtype: str | None, quantize: str | None, placement: Placement) -> LALM:
    return Request(model, revision=revision, dtype=dtype, quantize=quantize, placement=placement).load()


#: Threads that want a model which is not there yet wait for one loading of it.
_TURN = Lock()
