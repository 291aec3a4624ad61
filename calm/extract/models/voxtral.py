"""Model inputs of Voxtral, whose own processor needs audio files and mistral-common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_CONTROL_TOKENS = re.compile(r"(<s>|\[/?INST\]|\[(?:BEGIN_)?AUDIO\])")


def voxtral_tokens(tokenizer: Any, prompt: str) -> list[int]:
    """Tokenize a rendered prompt, with a tokenizer that may not recognize control tokens in texts.

    The tokenizer of mistral-common does not recognize them.

    Examples
    --------
    >>> class Letters:
    ...     convert_tokens_to_ids = len
    ...
    ...     def __call__(self, text, add_special_tokens):
    ...         return {"input_ids": [ord(letter) for letter in text]}
    >>> voxtral_tokens(Letters(), "[INST]Hm?[/INST]")
    [6, 72, 109, 63, 7]
    """
    ids: list[int] = []
    for i, piece in enumerate(_CONTROL_TOKENS.split(prompt)):
        if i % 2:
            ids.append(tokenizer.convert_tokens_to_ids(piece))
        elif piece:
            ids.extend(tokenizer(piece, add_special_tokens=False)["input_ids"])
    return ids


def voxtral_inputs(
    processor: Any, config: Any, waveform: NDArray[np.float32], prompt: str
) -> Mapping[str, torch.Tensor]:
    """Build the model inputs of one clip: each window of its spectrogram becomes a fixed number of audio tokens."""
    import torch
    from einops import rearrange

    extractor, encoder = processor.feature_extractor, config.audio_config
    tokens_per_window = encoder.max_source_positions * encoder.hidden_size // encoder.intermediate_size
    features = extractor(
        waveform,
        sampling_rate=extractor.sampling_rate,
        padding=True,
        pad_to_multiple_of=extractor.n_samples,
        truncation=False,
        return_tensors="pt",
    )
    windows = rearrange(features["input_features"], "1 m (w f) -> w m f", f=extractor.nb_max_frames)
    ids = voxtral_tokens(processor.tokenizer, prompt)
    position = ids.index(config.audio_token_id)
    ids[position : position + 1] = [config.audio_token_id] * (tokens_per_window * len(windows))
    tokens = torch.tensor([ids])
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "input_features": windows}
