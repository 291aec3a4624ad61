"""What Voxtral's processor does of a conversation whose sounds lie in files, without files and mistral-common."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CONTROL_TOKENS = re.compile(r"(<s>|\[/?INST\]|\[(?:BEGIN_)?AUDIO\])")


def voxtral_tokens(tokenizer: Any, prompt: str) -> list[int]:
    """Tokenize a rendered prompt, whether or not the tokenizer reads control tokens in texts (mistral-common does not).

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
    processor: Any,
    config: Any,
    waveforms: Sequence[NDArray[np.float32]],
    prompts: Sequence[str],
    padding_side: Literal["left", "right"],
) -> Mapping[str, Any]:
    """Make inputs of waveforms and rendered prompts: each window of a clip stands for a fixed number of tokens."""
    import torch
    from einops import rearrange

    tokenizer, extractor, encoder = processor.tokenizer, processor.feature_extractor, config.audio_config
    per_window = encoder.max_source_positions * encoder.hidden_size // encoder.intermediate_size
    windows, rows = [], []
    for wave, prompt in zip(waveforms, prompts, strict=True):
        sound = extractor(
            wave,
            sampling_rate=extractor.sampling_rate,
            padding=True,
            pad_to_multiple_of=extractor.n_samples,
            truncation=False,
            return_tensors="pt",
        )
        cut = rearrange(sound["input_features"], "1 m (w f) -> w m f", f=extractor.nb_max_frames)
        windows.append(cut)
        ids = voxtral_tokens(tokenizer, prompt)
        place = ids.index(config.audio_token_id)
        rows.append(ids[:place] + [config.audio_token_id] * (per_window * len(cut)) + ids[place + 1 :])
    ids_of_rows = [torch.tensor(row) for row in rows]
    pad = tokenizer.convert_tokens_to_ids("<pad>")
    padded = torch.nn.utils.rnn.pad_sequence
    return {
        "input_ids": padded(ids_of_rows, batch_first=True, padding_value=pad, padding_side=padding_side),
        "attention_mask": padded(
            [torch.ones_like(ids) for ids in ids_of_rows], batch_first=True, padding_side=padding_side
        ),
        "input_features": torch.cat(windows),
    }
