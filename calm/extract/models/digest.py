"""Digests of weights and processors, which identify a model independently of its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import xxhash

from calm.extract.media_options import MediaOptions
from calm.machine import available_cores

#: Attributes of a feature extractor that determine the features of a waveform in most families. They enter the digest
#: even if they are missing.
_EXTRACTOR_ATTRIBUTES = (
    "sampling_rate",
    "feature_size",
    "n_fft",
    "hop_length",
    "chunk_length",
    "do_normalize",
    "dither",
)

#: Attributes that determine the features in some families. They enter the digest only if they exist.
_OPTIONAL_ATTRIBUTES = (
    *("frame_length", "frame_shift", "num_frames_lfr", "stride_lfr", "win_length", "preemphasis"),
    *("normalize_audio", "target_dB_FS", "min_frequency", "max_frequency", "mel_floor", "melspec_kwargs"),
)

#: Attributes of a video processor that determine the model inputs of a video.
_VIDEO_ATTRIBUTES = (
    *("patch_size", "temporal_patch_size", "merge_size", "size", "resample"),
    *("do_normalize", "image_mean", "image_std", "do_rescale", "rescale_factor"),
)

#: Number of elements of a tensor that are hashed at once.
_CHUNK_ELEMENTS = 2**24

#: Number of tensors that are hashed in parallel. More threads would not exceed the memory bandwidth.
_MAX_THREADS = 4

#: Text that is tokenized to identify a tokenizer and a chat template.
PROBE = "Which of 10 sounds is it?"


def weights_digest(model: Any) -> str:
    """Compute a digest of all bytes of a model's weights.

    Each tensor is hashed by XXH3, in the order of tensor names. The digest depends neither on the model's name nor on
    its location. It depends on the dtype of the weights, and changes if a single head is disabled.

    Parameters
    ----------
    model : torch.nn.Module
        Model with its weights loaded.

    Returns
    -------
    str
        ``"xxh3:"`` followed by 32 hexadecimal digits.
    """
    tensors = sorted(model.state_dict().items())
    model_hash = xxhash.xxh3_128()
    # Threads run in parallel, because xxhash releases the global interpreter lock.
    with ThreadPoolExecutor(min(_MAX_THREADS, available_cores())) as pool:
        for (name, tensor), digest in zip(tensors, pool.map(_tensor_digest, (t for _, t in tensors)), strict=True):
            model_hash.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            model_hash.update(digest)
    return f"xxh3:{model_hash.hexdigest()}"


def _tensor_digest(tensor: Any) -> bytes:
    """Compute the digest of one tensor in chunks, so that few weights of a GPU are copied to the CPU at a time."""
    import torch

    digest = xxhash.xxh3_128()
    flat = tensor.detach().contiguous().reshape(-1)
    for chunk in flat.split(_CHUNK_ELEMENTS):
        digest.update(chunk.cpu().view(torch.uint8).numpy())
    return digest.digest()


def processor_digest(processor: Any, extractor: Any, tokens: Sequence[int], media_options: MediaOptions) -> str:
    """Compute a digest of how clips and texts become model inputs.

    Parameters
    ----------
    processor : transformers.ProcessorMixin
        Processor of the model.
    extractor : object
        Feature extractor of the processor.
    tokens : sequence of int
        Token ids of the prompt with the text :data:`PROBE`.
    media_options : MediaOptions
        Whether the model receives audio, video, or both. The video processor counts only with video.
    """
    values = {name: getattr(extractor, name, None) for name in _EXTRACTOR_ATTRIBUTES}
    optional = {name: getattr(extractor, name, None) for name in _OPTIONAL_ATTRIBUTES}
    values |= {name: value for name, value in optional.items() if value is not None}
    if media_options.uses_video:
        video = {name: getattr(processor.video_processor, name, None) for name in _VIDEO_ATTRIBUTES}
        values |= {f"video {name}": repr(value) for name, value in video.items()}
    return hashlib.sha256(json.dumps([values, tokens]).encode()).hexdigest()[:16]
