from __future__ import annotations

from pathlib import Path

from transformers import (
    Gemma4UnifiedAudioFeatureExtractor,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedImageProcessor,
    Gemma4UnifiedProcessor,
    Gemma4UnifiedVideoProcessor,
)

from tests.extract.models.families.common import save
from tests.extract.models.families.gemma4 import TEMPLATE, gemma4_tokenizer


def build(folder: Path) -> tuple[int, int, int]:
    """Gemma 4 without encoders (google/gemma-4-12B-it): 4 layers of 4 query heads, head dimension 12 in sliding layers and 16 in full ones."""
    tokenizer, ids = gemma4_tokenizer()
    config = Gemma4UnifiedConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "head_dim": 12,
            "global_head_dim": 16,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "num_global_key_value_heads": 1,
            "attention_k_eq_v": True,
            "sliding_window": 16,
            "final_logit_softcapping": 30.0,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={"mm_embed_dim": 16, "mm_posemb_size": 16, "output_proj_dims": 16},
        audio_config={"audio_embed_dim": 640},
        **ids,
    )
    processor = Gemma4UnifiedProcessor(
        Gemma4UnifiedAudioFeatureExtractor(),
        Gemma4UnifiedImageProcessor(),
        tokenizer,
        Gemma4UnifiedVideoProcessor(),
        chat_template=TEMPLATE,
    )
    save(folder, Gemma4UnifiedForConditionalGeneration(config), processor)
    return 4, 4, 16
