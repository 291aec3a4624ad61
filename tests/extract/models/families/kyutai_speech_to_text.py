from __future__ import annotations

from pathlib import Path

from transformers import (
    KyutaiSpeechToTextConfig,
    KyutaiSpeechToTextFeatureExtractor,
    KyutaiSpeechToTextForConditionalGeneration,
    KyutaiSpeechToTextProcessor,
)

from tests.extract.models.families.common import byte_tokenizer, save


def build(folder: Path) -> tuple[int, int, int]:
    """Kyutai's speech to text: streaming transcription without a prompt, which must be refused."""
    tokenizer = byte_tokenizer(("<unk>", "<s>", "</s>", "<pad>"), eos="</s>", pad="<pad>")
    codec = {
        "model_type": "mimi",
        "num_quantizers": 4,
        "hidden_size": 16,
        "num_filters": 4,
        "num_residual_layers": 1,
        "upsampling_ratios": [8, 4],
        "codebook_size": 16,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "upsample_groups": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 32,
        "sliding_window": 8,
    }
    config = KyutaiSpeechToTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        head_dim=12,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        ffn_dim=48,
        num_codebooks=4,
        codebook_vocab_size=17,
        audio_bos_token_id=16,
        audio_pad_token_id=len(tokenizer) + 4 * 17,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.convert_tokens_to_ids("<s>"),
        codec_config=codec,
    )
    extractor = KyutaiSpeechToTextFeatureExtractor()
    save(folder, KyutaiSpeechToTextForConditionalGeneration(config), KyutaiSpeechToTextProcessor(extractor, tokenizer))
    return 3, 4, 12
