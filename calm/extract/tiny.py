"""``tiny``: a small Qwen2-Audio that is built on the spot, for trying things out without a download.

Same classes as the real one, about 4.6 million parameters, a window of 5 seconds. Its weights are random: what it
tells apart, a random projection of the sound tells apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

WINDOW_SECONDS = 5
_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
# The tokenizer learns its merges from the words that prompts are made of; other text falls back to shorter pieces.
_TOKENIZER_TEXT = (
    "system\nYou are a helpful assistant.\n",
    "user\nAudio 1: \nWhat is the sound in this audio clip?\n",
    "assistant\n",
    " Which of these do you hear? Choose from: Options: Answer with one word.",
)
_SEED = 0
_STD = 0.1  # of every weight matrix


def build_tiny() -> tuple[Any, Any]:
    """Build the model and its processor; the same on every machine, to the bit.

    Returns
    -------
    model : transformers.Qwen2AudioForConditionalGeneration
        float32, on the CPU.
    processor : transformers.Qwen2AudioProcessor

    Examples
    --------
    >>> model, processor = build_tiny()
    >>> round(sum(p.numel() for p in model.parameters()) / 1e6, 1)
    4.6
    """
    import torch
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    processor = _build_processor()
    tokenizer = processor.tokenizer
    config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "d_model": 128,
            "encoder_layers": 4,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 512,
            "max_source_positions": WINDOW_SECONDS * 50,
        },
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "max_position_embeddings": 2048,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    with torch.random.fork_rng(devices=[]):  # leave the caller's random numbers alone
        model = Qwen2AudioForConditionalGeneration(config)
    _fill(model)
    return model.eval(), processor


def learn_tokenizer(texts: Iterable[str], size: int) -> Any:
    """Learn a byte-level BPE tokenizer with the special tokens of Qwen2-Audio.

    Parameters
    ----------
    texts : iterable of str
        What merges are learnt from; other text falls back to shorter pieces.
    size : int
        Most tokens, bytes and special ones included.

    Returns
    -------
    transformers.PreTrainedTokenizerFast

    Examples
    --------
    >>> learn_tokenizer(["a bell", "bell"], 300).tokenize("bell")
    ['bell']
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(_SPECIAL_TOKENS[1:]),
    )


def _build_processor() -> Any:
    from transformers import Qwen2AudioProcessor, WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=128, sampling_rate=16000, chunk_length=WINDOW_SECONDS)
    return Qwen2AudioProcessor(extractor, learn_tokenizer(_TOKENIZER_TEXT, 512))


def _fill(model: torch.nn.Module) -> None:
    """Draw every weight matrix from numpy's frozen legacy generator, which no release or platform changes."""
    import torch

    generator = np.random.RandomState(_SEED)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim >= 2:
                drawn = generator.standard_normal(tuple(parameter.shape)) * _STD
                parameter.copy_(torch.from_numpy(drawn))
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)  # norms start as the identity
