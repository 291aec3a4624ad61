from __future__ import annotations

from pathlib import Path

from transformers import VoxtralRealtimeConfig, VoxtralRealtimeFeatureExtractor, VoxtralRealtimeForConditionalGeneration

from tests.extract.models.families.common import DECODER, save
from tests.extract.models.families.voxtral import tekken


def build(folder: Path) -> tuple[int, int, int]:
    """Voxtral Realtime: streaming transcription without a prompt, which must be refused."""
    config = VoxtralRealtimeConfig(
        audio_config={
            "model_type": "voxtral_realtime_encoder",
            "num_mel_bins": 16,
            "hidden_size": 16,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "head_dim": 8,
            "sliding_window": 20,
        },
        text_config={
            "model_type": "voxtral_realtime_text",
            "vocab_size": tekken(folder),
            **DECODER,
            "sliding_window": 20,
            "pad_token_id": 11,
        },
    )
    save(folder, VoxtralRealtimeForConditionalGeneration(config), VoxtralRealtimeFeatureExtractor(feature_size=16))
    return 3, 4, 12
