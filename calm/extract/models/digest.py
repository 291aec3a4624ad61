"""Digests of weights and processors: two models are the same if these are, whatever they are called."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import xxhash

from calm.extract.media_options import MediaOptions
from calm.machine import available_cores

#: What decides the features of a waveform, in most families.
_EXTRACTOR_NUMBERS = ("sampling_rate", "feature_size", "n_fft", "hop_length", "chunk_length", "do_normalize", "dither")

#: And in some.
_FURTHER_NUMBERS = (
    *("frame_length", "frame_shift", "num_frames_lfr", "stride_lfr", "win_length", "preemphasis"),
    *("normalize_audio", "target_dB_FS", "min_frequency", "max_frequency", "mel_floor", "melspec_kwargs"),
)

#: What decides the inputs of a video.
_PICTURE_NUMBERS = (
    *("patch_size", "temporal_patch_size", "merge_size", "size", "resample"),
    *("do_normalize", "image_mean", "image_std", "do_rescale", "rescale_factor"),
)

#: Numbers of a tensor that are hashed at once, and tensors side by side: memory's rate is reached with few.
_NUMBERS, _THREADS = 2**24, 4

#: A text that is asked of every tokenizer.
PROBE = "Which of 10 sounds is it?"


def weights_digest(model: Any) -> str:
    """Digest the weights of a model, every byte of them: another checkpoint, or one head switched off, is told apart.

    Each tensor is hashed by XXH3, in the order of the tensors' names, so that the same weights have the same digest
    whatever the model is called and wherever it lies. Weights in another dtype are other weights.

    Returns
    -------
    str
        ``"xxh3:"`` and 32 hexadecimal digits.
    """
    tensors = sorted(model.state_dict().items())
    whole = xxhash.xxh3_128()
    with ThreadPoolExecutor(
        min(_THREADS, available_cores())
    ) as pool:  # hashing leaves the interpreter's lock to others
        for (name, tensor), digest in zip(tensors, pool.map(_tensor_digest, (t for _, t in tensors)), strict=True):
            whole.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
            whole.update(digest)
    return f"xxh3:{whole.hexdigest()}"


def _tensor_digest(tensor: Any) -> bytes:
    """Digest one tensor, part by part, so that of a GPU's weights little lies on the CPU at a time."""
    import torch

    digest = xxhash.xxh3_128()
    flat = tensor.detach().contiguous().reshape(-1)
    for part in flat.split(_NUMBERS):
        digest.update(part.cpu().view(torch.uint8).numpy())
    return digest.digest()


def processor_digest(processor: Any, extractor: Any, tokens: Sequence[int], media_options: MediaOptions) -> str:
    """Digest how a clip and a text become inputs.

    Parameters
    ----------
    processor
    extractor
        What makes features of waveforms.
    tokens : sequence of int
        Of a prompt about :data:`PROBE`.
    media_options : MediaOptions
        What makes inputs of videos counts only where there are pictures.
    """
    numbers = {name: getattr(extractor, name, None) for name in _EXTRACTOR_NUMBERS}
    further = {name: getattr(extractor, name, None) for name in _FURTHER_NUMBERS}
    numbers |= {name: number for name, number in further.items() if number is not None}
    if media_options.uses_video:
        seen = {name: getattr(processor.video_processor, name, None) for name in _PICTURE_NUMBERS}
        numbers |= {f"video {name}": repr(number) for name, number in seen.items()}
    return hashlib.sha256(json.dumps([numbers, tokens]).encode()).hexdigest()[:16]
