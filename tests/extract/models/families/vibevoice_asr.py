from __future__ import annotations

from pathlib import Path

from transformers import (
    VibeVoiceAcousticTokenizerFeatureExtractor,
    VibeVoiceAsrConfig,
    VibeVoiceAsrForConditionalGeneration,
    VibeVoiceAsrProcessor,
)

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>")
#: Message structure of microsoft/VibeVoice-ASR-HF: content lists with {"type": "audio"} and, as context,
#: {"type": "text"}. The prompt contains the clip's length. There is no generation prompt: the model writes the
#: assistant's header itself.
TEMPLATE = (
    "<|im_start|>system\nYou transcribe.<|im_end|>\n"
    "{% for m in messages if m.role == 'user' %}<|im_start|>user\n"
    "{% for c in m.content if c.type == 'audio' %}<|object_ref_start|><|box_start|><|object_ref_end|>\n"
    "A sound of <|AUDIO_DURATION|> seconds, with extra info: {% endfor %}"
    "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}<|im_end|>\n{% endfor %}"
)


def build(folder: Path) -> tuple[int, int, int]:
    """VibeVoice-ASR: 3 layers of 4 query heads in 2 groups, head dimension 12."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>")
    encoder = {
        "model_type": "vibevoice_acoustic_tokenizer_encoder",
        "num_filters": 4,
        "downsampling_ratios": [40, 80],
        "depths": [1, 1, 1],
        "ffn_expansion": 2,
        "kernel_size": 3,
        "layer_scale_init_value": 0.1,
    }
    id_of = tokenizer.convert_tokens_to_ids
    config = VibeVoiceAsrConfig(
        acoustic_tokenizer_encoder_config={**encoder, "hidden_size": 8},
        semantic_tokenizer_encoder_config={**encoder, "hidden_size": 12},
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            **DECODER,
            "tie_word_embeddings": False,
        },
        audio_token_id=id_of("<|box_start|>"),
        audio_bos_token_id=id_of("<|object_ref_start|>"),
        audio_eos_token_id=id_of("<|object_ref_end|>"),
        acoustic_tokenizer_chunk_size=9600,  # 0.4 s: a clip is processed in several chunks
    )
    processor = VibeVoiceAsrProcessor(VibeVoiceAcousticTokenizerFeatureExtractor(), tokenizer, chat_template=TEMPLATE)
    save(folder, VibeVoiceAsrForConditionalGeneration(config), processor)
    return 3, 4, 12
