from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    WhisperFeatureExtractor,
)

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
    "<|IMAGE|>",
    "<|VIDEO|>",
    "<|vision_bos|>",
    "<|vision_eos|>",
)
NAMED = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
#: Message structure of Qwen/Qwen2.5-Omni-7B: strings, or lists of audio, video, image and text items.
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_bos|><|IMAGE|><|vision_eos|>{% elif c.type == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif c.type == 'video' %}<|vision_bos|><|VIDEO|><|vision_eos|>{% elif 'text' in c %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PIXELS = {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}


def build(folder: Path) -> tuple[int, int, int]:
    """The whole Qwen2.5-Omni, with a thinker of 3 layers of 4 query heads in 2 groups, head dimension 12 (not hidden / heads)."""
    tokenizer = byte_tokenizer(SPECIAL, eos="<|im_end|>", pad="<|endoftext|>", extra_special_tokens=NAMED)
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in NAMED.items()}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}
    text = {
        "vocab_size": len(tokenizer),
        **DECODER,
        "rope_parameters": rope,
        "max_position_embeddings": 4096,
    }
    tokens = {
        "audio_token_index": ids["audio_token"],
        "image_token_index": ids["image_token"],
        "video_token_index": ids["video_token"],
        "audio_start_token_id": ids["audio_bos_token"],
        "audio_end_token_id": ids["audio_eos_token"],
        "vision_start_token_id": ids["vision_bos_token"],
        "vision_end_token_id": ids["vision_eos_token"],
    }
    config = Qwen2_5OmniConfig(
        thinker_config={
            **tokens,
            "audio_config": {
                "num_mel_bins": 16,
                "d_model": 16,
                "encoder_layers": 2,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "max_source_positions": 100,
                "n_window": 25,
                "output_dim": 32,
            },
            "vision_config": {
                "depth": 2,
                "hidden_size": 16,
                "intermediate_size": 24,
                "num_heads": 2,
                "patch_size": 4,
                "window_size": 16,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [1],
            },
            "text_config": text,
        },
        talker_config={**text, **tokens, "num_hidden_layers": 2, "embedding_size": 32},
        token2wav_config={
            "dit_config": {
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "head_dim": 8,
                "emb_dim": 8,
                "num_embeds": 16,
                "mel_dim": 8,
                "enc_emb_dim": 8,
                "enc_dim": 8,
                "enc_channels": [8, 8, 8, 8, 24],
                "enc_attention_channels": 4,
                "enc_res2net_scale": 2,
                "enc_se_channels": 4,
            },
            "bigvgan_config": {
                "mel_dim": 8,
                "upsample_initial_channel": 8,
                "upsample_rates": [2],
                "upsample_kernel_sizes": [4],
                "resblock_kernel_sizes": [3],
                "resblock_dilation_sizes": [[1, 1, 1]],
            },
        },
    )
    model = Qwen2_5OmniForConditionalGeneration(config)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    image_kwargs = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2, "size": PIXELS}
    processor = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessor(**image_kwargs),
        Qwen2VLVideoProcessor(**image_kwargs),
        extractor,
        tokenizer,
        chat_template=TEMPLATE,
    )
    save(folder, model, processor)
    torch.save({"Chelsie": {"bos_token": 1}}, f"{folder}/spk_dict.pt")  # loading always reads the speaker file
    return 3, 4, 12
