"""Telling models and processors apart by what they do, whatever they are called and wherever they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from calm.extract.senses import Senses

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

#: Enough values of each tensor to tell any two checkpoints apart, few enough to read in an instant.
_DIGEST_VALUES = 64

#: A text that is asked of every tokenizer.
PROBE = "Which of 10 sounds is it?"


def weights_digest(model: Any) -> str:
    """Digest the weights of a model: a sample of every tensor goes in."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        step = max(1, flat.numel() // _DIGEST_VALUES)
        sample = flat[::step].to(device="cpu", dtype=torch.float32)
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()[:16]


def processor_digest(processor: Any, extractor: Any, tokens: Sequence[int], senses: Senses) -> str:
    """Digest how a clip and a text become inputs.

    Parameters
    ----------
    processor
    extractor
        What makes features of waveforms.
    tokens : sequence of int
        Of a prompt about :data:`PROBE`.
    senses : Senses
        What makes inputs of videos counts only where there are pictures.
    """
    numbers = {name: getattr(extractor, name, None) for name in _EXTRACTOR_NUMBERS}
    further = {name: getattr(extractor, name, None) for name in _FURTHER_NUMBERS}
    numbers |= {name: number for name, number in further.items() if number is not None}
    if senses.sees:
        seen = {name: getattr(processor.video_processor, name, None) for name in _PICTURE_NUMBERS}
        numbers |= {f"video {name}": repr(number) for name, number in seen.items()}
    return hashlib.sha256(json.dumps([numbers, tokens]).encode()).hexdigest()[:16]
