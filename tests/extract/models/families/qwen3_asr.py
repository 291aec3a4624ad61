from __future__ import annotations

from pathlib import Path

from transformers import Qwen3ASRConfig, Qwen3ASRFeatureExtractor, Qwen3ASRForConditionalGeneration, Qwen3ASRProcessor

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_pad|>",
    "<|audio_start|>",
    "<|audio_end|>",
    "<asr_text>",
    "<timestamp>",
)
NAMED = {"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}
#: Message structure of Qwen/Qwen3-ASR-1.7B-hf: text is used in system messages only; a user's text is dropped.
TEMPLATE = (
    "{% set ns = namespace(system='', audio='') %}{% for m in messages %}{% if m.content is string %}"
    "{% if m.role == 'system' %}{% set ns.system = ns.system + m.content %}{% endif %}{% else %}{% for c in m.content %}"
    "{% if m.role == 'system' and c.type == 'text' %}{% set ns.system = ns.system + c.text %}"
    "{% elif c.type == 'audio' %}{% set ns.audio = ns.audio + '<|audio_start|><|audio_pad|><|audio_end|>' %}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    "<|im_start|>system\n{{ ns.system }}<|im_end|>\n<|im_start|>user\n{{ ns.audio }}<|im_end|>\n"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Qwen3-ASR: 3 layers of 4 query heads in 2 groups, head dimension 12 (not hidden / heads)."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>", extra_special_tokens=NAMED)
    number = tokenizer.convert_tokens_to_ids
    config = Qwen3ASRConfig(
        audio_config={
            "model_type": "qwen3_asr_encoder",
            "num_mel_bins": 16,
            "d_model": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "n_window_infer": 100,
            "downsample_hidden_size": 8,
            "output_dim": 32,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            **DECODER,
            "tie_word_embeddings": True,
        },
        audio_token_id=number("<|audio_pad|>"),
        timestamp_token_id=number("<timestamp>"),
        pad_token_id=number("<|endoftext|>"),
        eos_token_id=number("<|im_end|>"),
    )
    model = Qwen3ASRForConditionalGeneration(config)
    extractor = Qwen3ASRFeatureExtractor(
        feature_size=16, chunk_length=1
    )  # shorter than the clips, which are not cut at it
    save(folder, model, Qwen3ASRProcessor(extractor, tokenizer, chat_template=TEMPLATE))
    return 3, 4, 12
