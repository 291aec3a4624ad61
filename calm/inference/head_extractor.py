"""A scikit-learn transformer from paths or waveforms to head vectors."""

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
    """Transformer that extracts the head vectors of clips with a frozen large audio-language model.

    Use it as the first step of a scikit-learn pipeline. There is nothing to fit. The first call of ``transform`` loads
    the model, and clones share it, so that cross-validation loads it only once.

    Parameters
    ----------
    {options}

    Notes
    -----
    A clip that cannot be read raises an error, and nothing is stored: use :func:`calm.extract_to_cache` for a large
    data set. Each process keeps the model that was used last. With ``n_jobs`` above 1, each process loads the model.

    See Also
    --------
    calm.extract_to_cache : Extract head vectors into a cache, which can be resumed.
    calm.CALMClassifier : Classifier for head vectors.
    calm.predict_audio : Classify clips with a fitted classifier.

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
        """Do nothing, because the model is frozen.

        Parameters
        ----------
        X : sequence
            Ignored.
        y : array-like, default=None
            Ignored.

        Returns
        -------
        HeadExtractor
            This transformer.
        """
        return self

    def transform(self, X: Sequence[Any]) -> HeadArray:
        """Extract the head vectors of clips.

        Parameters
        ----------
        X : sequence of length n_clips
            Each clip is a path, a waveform of shape (n_samples,) or (n_samples, n_channels) at the model's sampling
            rate, or a pair of a waveform and its sampling rate in Hz.

        Returns
        -------
        HeadArray of shape (n_clips, n_layers, n_heads, head_dim)
            Head vectors, float32. The array keeps the record of its extraction, which a classifier fitted on it needs
            for :func:`calm.predict_audio`.

        Raises
        ------
        ValueError
            If a clip fails. To leave out such clips, use :func:`calm.extract_to_cache`.
        """
        if isinstance(X, str | Path):
            raise ValueError(f"X must be a sequence of clips; for a single clip, pass [{X!r}]")
        clips = find_clips(list(X))
        options = self.get_params(deep=False)
        batch_size = options.pop("batch_size")
        request = Request(**options)
        texts = prompt_texts(clips, request.prompt)
        with _LOADING:
            lalm = _load(request.model, request.revision, request.dtype, request.quantize, request.placement)
        extraction = Extraction(
            request=resolve_request(request, lalm.commit, lalm.dtype),
            fingerprint=compute_fingerprint(lalm, request),
            text=texts[0] if texts else None,
        )
        results = collect_results(
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
        if results.failures:
            first = results.failures[0]
            raise ValueError(
                f"{len(results.failures)} of {len(clips)} clips failed; {clips[first.row].name}: {first.reason}"
            )
        no_vectors = np.empty((0, *lalm.heads.shape), dtype=np.float32)
        return HeadArray(no_vectors if results.values is None else results.values, extraction)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        return tags


@lru_cache(maxsize=1)
def _load(model: str, revision: str | None, dtype: str | None, quantize: str | None, placement: Placement) -> LALM:
    """Load a model, and keep the last one for other extractors."""
    return Request(model, revision=revision, dtype=dtype, quantize=quantize, placement=placement).load()


#: Held while a model is loaded, so that threads that need the same model load it only once.
_LOADING = Lock()
