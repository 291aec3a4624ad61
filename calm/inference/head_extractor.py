"""A scikit-learn transformer from paths or waveforms to head vectors."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from calm.extract import (
    Batching,
    Clip,
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
from calm.extract.result import ClipResult
from calm.options import build_group, document_options, options_of

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from calm.extract import LALM, Placement

#: Number of failed clips that a message names.
_SHOWN_FAILURES = 3


@document_options(Request, Batching, leave_out=("workers",))
class HeadExtractor(
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,  # type: ignore[call-arg]  # no set_output: data frames have two dimensions
):
    """Transformer that extracts the head vectors of clips with a frozen large audio-language model.

    Use it as the first step of a scikit-learn pipeline. There is nothing to fit. The first call of ``transform`` loads
    the model, and clones share it, so that cross-validation loads it only once.

    Parameters
    ----------
    {options}
    sampling_rate : float, default=None
        Sampling rate in Hz of the waveforms that have none, as in :func:`calm.find_clips`. None means the model's rate.
    on_error : {"raise", "skip"}, default="raise"
        What to do if a clip cannot be read: raise an error, or warn and return NaN as its head vectors.

    Notes
    -----
    Nothing is stored: use :func:`calm.extract_to_cache` for a large data set. ``set_output`` is not available, because
    no data frame holds an output of four dimensions. Each process keeps the model that was used last. With ``n_jobs``
    above 1, each process loads the model.

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
    >>> pipe = make_pipeline(HeadExtractor("tiny", sampling_rate=16000), CALMClassifier())
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
        sampling_rate: float | None = None,
        on_error: str = "raise",
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
        self.sampling_rate = sampling_rate
        self.on_error = on_error

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

    def transform(self, X: Iterable[Any]) -> HeadArray:
        """Extract the head vectors of clips.

        Parameters
        ----------
        X : sequence of length n_clips
            Each entry is one clip: a path, a waveform, a pair of a waveform and its sampling rate in Hz, or a
            :class:`calm.extract.Clip`, as in :func:`calm.find_clips`.

        Returns
        -------
        HeadArray of shape (n_clips, n_layers, n_heads, head_dim)
            Head vectors, float32. The array keeps the record of its extraction, which a classifier fitted on it needs
            for :func:`calm.predict_audio`.

        Raises
        ------
        ValueError
            If a clip fails and ``on_error`` is "raise", or X is not a sequence with one clip per entry.

        Warns
        -----
        UserWarning
            If clips fail and ``on_error`` is "skip". Their rows are NaN.
        """
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {self.on_error!r}")
        clips = _list_clips(X, self.sampling_rate)
        request = self._make_request()
        texts = prompt_texts(clips, request.prompt)
        lalm = _load_once(request)
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
                batch_size=self.batch_size,
            )
        )
        if results.failures:
            self._report_failures(results.failures, clips)
        vectors = np.full((len(clips), *lalm.heads.shape), np.nan, dtype=np.float32)
        if results.values is not None:
            vectors[results.rows] = results.values
        return HeadArray(vectors, extraction)

    def _make_request(self) -> Request:
        return build_group(Request, {name: getattr(self, name) for name in options_of(Request)})

    def _report_failures(self, failures: Sequence[ClipResult], clips: Sequence[Clip]) -> None:
        """Raise an error or warn, and name the first clips that failed."""
        named = "; ".join(f"{clips[failure.row].name}: {failure.reason}" for failure in failures[:_SHOWN_FAILURES])
        others = " …" if len(failures) > _SHOWN_FAILURES else ""
        if self.on_error == "raise":
            raise ValueError(f"{len(failures)} of {len(clips)} clips failed; {named}{others}")
        warnings.warn(
            f"{len(failures)} of {len(clips)} clips failed, and their head vectors are NaN; {named}{others}",
            stacklevel=3,
        )

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the features of the flattened output, such as "layer 3 · head 5 · 17".

        scikit-learn names the columns of two-dimensional outputs. The names here are those of the columns of
        ``transform(X).reshape(len(X), -1)``. This method loads the model.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        ndarray of shape (n_layers * n_heads * head_dim,), dtype object
            Layer, head and dimension of each feature.

        Examples
        --------
        >>> from calm import HeadExtractor
        >>> names = HeadExtractor("tiny").get_feature_names_out()
        >>> names.shape, names[0], names[-1]
        ((1536,), 'layer 0 · head 0 · 0', 'layer 5 · head 7 · 31')
        """
        heads = _load_once(self._make_request()).heads
        _, n_heads, head_dim = heads.shape
        head_names = [f"layer {layer} · head {head}" for layer in heads.layers for head in range(n_heads)]
        return np.array([f"{name} · {d}" for name in head_names for d in range(head_dim)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        return tags


def _list_clips(X: Any, sampling_rate: float | None) -> list[Clip]:
    """Find the clips of a sequence, and check that each entry is one clip: y has one label per entry."""
    if isinstance(X, str | Path):
        raise ValueError(
            f"X must be a sequence of clips; for a single clip, pass [{str(X)!r}], and for a folder or a manifest pass "
            f"find_clips({str(X)!r})"
        )
    X = X if hasattr(X, "__len__") else list(X)
    clips = find_clips(X, sampling_rate=sampling_rate)
    if len(clips) != len(X):
        raise ValueError(
            f"X has {len(X)} entries but {len(clips)} clips, because a folder or a manifest stands for all its clips: "
            f"pass find_clips(X)"
        )
    return clips


def _load_once(request: Request) -> LALM:
    """Load the model of a request, unless it is the one that was used last."""
    with _LOADING:
        return _load(request.model, request.revision, request.dtype, request.quantize, request.placement)


@lru_cache(maxsize=1)
def _load(model: str, revision: str | None, dtype: str | None, quantize: str | None, placement: Placement) -> LALM:
    """Load a model, and keep the last one for other extractors."""
    return Request(model, revision=revision, dtype=dtype, quantize=quantize, placement=placement).load()


#: Held while a model is loaded, so that threads that need the same model load it only once.
_LOADING = Lock()
