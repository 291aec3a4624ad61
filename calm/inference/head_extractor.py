"""Extraction as a scikit-learn transformer, from paths or waveforms to head vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from calm.extract import Request, find_clips, head_vectors, prompt_texts

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from calm.extract import LALM


class HeadExtractor(TransformerMixin, BaseEstimator):
    """Turn clips into head vectors with a frozen large audio-language model; the first step of a pipeline.

    There is nothing to fit. The model is loaded at the first transform and shared between clones, so that
    cross-validation does not load it again.

    Parameters
    ----------
    model : str
        Alias, hub id or local folder; see :func:`calm.extract.load_lalm`.
    revision, dtype, device, device_map, quantize : str, optional
        See :func:`calm.extract.load_lalm`.
    template, question : str
        What the model is asked; see :class:`calm.extract.Prompt`. What is heard or seen unless given.
    tokens : int
        1 takes the last token of the prompt, m the mean over the last m.
    max_seconds : float, optional
        Where long clips are cut; the model's window unless given.
    modality : {"audio", "visual", "audio-visual"}
        What of a clip the model is given.
    fps, max_pixels : float and int, optional
        Frames of each second of a video, and how large they may be; see :class:`calm.extract.Senses`.
    batch_size : int, optional
        Clips a forward pass; see :func:`calm.extract.head_vectors`.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from calm import CALMClassifier
    >>> time = np.arange(16000) / 16000
    >>> clips = [np.sin(2 * np.pi * pitch * time) for pitch in (200, 210, 2000, 2100)]
    >>> pipe = make_pipeline(HeadExtractor("tiny"), CALMClassifier())
    >>> pipe.fit(clips, ["low", "low", "high", "high"]).predict([np.sin(2 * np.pi * 2050 * time)])
    array(['high'], dtype='<U4')
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        dtype: str | None = None,
        device: str | None = None,
        device_map: str | None = None,
        quantize: str | None = None,
        template: str = "{question}",
        question: str | None = None,
        tokens: int = 1,
        max_seconds: float | None = None,
        modality: str = "audio",
        fps: float | None = None,
        max_pixels: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.model = model
        self.revision = revision
        self.dtype = dtype
        self.device = device
        self.device_map = device_map
        self.quantize = quantize
        self.template = template
        self.question = question
        self.tokens = tokens
        self.max_seconds = max_seconds
        self.modality = modality
        self.fps = fps
        self.max_pixels = max_pixels
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> Self:
        """Do nothing: the model is frozen."""
        return self

    def transform(self, X: Sequence[Any]) -> NDArray[np.float32]:
        """Extract the head vectors of some clips.

        Parameters
        ----------
        X : sequence
            Paths, mono or ``(samples, channels)`` arrays at the model's rate, or ``(array, rate)`` pairs.

        Returns
        -------
        array of float32 (n, layers · heads, dim)

        Raises
        ------
        ValueError
            If a clip cannot be read: a transformer answers for every clip or for none. To leave bad clips out,
            extract into a cache.
        """
        if isinstance(X, str | Path):
            raise ValueError(f"X must be a sequence of clips; for one clip, give [{X!r}]")
        clips = find_clips(list(X))
        request = Request(
            self.model,
            template=self.template,
            question=self.question,
            tokens=self.tokens,
            max_seconds=self.max_seconds,
            modality=self.modality,
            fps=self.fps,
            max_pixels=self.max_pixels,
        )
        texts = prompt_texts(clips, request.prompt)
        lalm = _shared_lalm(self.model, self.revision, self.dtype, self.device, self.device_map, self.quantize)
        batches = list(
            head_vectors(
                lalm,
                clips,
                texts,
                senses=request.senses,
                tokens=request.tokens,
                max_seconds=request.max_seconds,
                batch_size=self.batch_size,
            )
        )
        failed = {row: clip.reason for batch in batches for row, clip in batch.failed.items()}
        if failed:
            first = min(failed)
            raise ValueError(f"{len(failed)} of {len(clips)} clips failed; {clips[first].name}: {failed[first]}")
        vectors = np.empty((len(clips), *lalm.heads.shape), dtype=np.float32)
        for batch in batches:
            vectors[batch.rows] = batch.vectors
        return rearrange(vectors, "n l h d -> n (l h) d")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        return tags


@lru_cache(maxsize=1)
def _shared_lalm(
    model: str,
    revision: str | None,
    dtype: str | None,
    device: str | None,
    device_map: str | None,
    quantize: str | None,
) -> LALM:
    from calm.extract import load_lalm

    return load_lalm(model, revision=revision, dtype=dtype, device=device, device_map=device_map, quantize=quantize)
