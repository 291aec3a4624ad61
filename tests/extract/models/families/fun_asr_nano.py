from __future__ import annotations

from pathlib import Path

from transformers import (
    FunAsrNanoConfig,
    FunAsrNanoFeatureExtractor,
    FunAsrNanoForConditionalGeneration,
    FunAsrNanoProcessor,
)

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>")
#: Message structure of FunAudioLLM/Fun-ASR-Nano-2512-hf: content lists with {"type": "audio"} and {"type": "text"}.
#: The text comes before the audio, as context of a task that is always transcription.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content if c.type == 'text' %}{{ c.text }}\n{% endfor %}"
    "{% for c in m.content if c.type == 'audio' %}<|object_ref_start|>{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """Fun-ASR-Nano: 3 layers of 4 query heads in 2 groups, head dimension 12. Its features need torchaudio."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>")
    config = FunAsrNanoConfig(
        audio_config={
            "model_type": "fun_asr_nano_encoder",
            "num_mel_bins": 16,
            "hidden_size": 16,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_timestamp_prediction_layers": 1,
            "num_stacked_frames": 3,
            "fsmn_kernel_size": 5,
            "max_position_embeddings": 101,
        },
        adaptor_config={
            "hidden_size": 32,
            "num_attention_heads": 2,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "projector_hidden_size": 24,
        },
        text_config={
            "model_type": "qwen3",
            "vocab_size": len(tokenizer),
            **DECODER,
            "tie_word_embeddings": True,
        },
        audio_token_id=tokenizer.convert_tokens_to_ids("<|object_ref_start|>"),
    )
    extractor = FunAsrNanoFeatureExtractor(feature_size=16, num_frames_lfr=3, stride_lfr=2)
    save(
        folder,
        FunAsrNanoForConditionalGeneration(config),
        FunAsrNanoProcessor(extractor, tokenizer, chat_template=TEMPLATE),
    )
    return 3, 4, 12
