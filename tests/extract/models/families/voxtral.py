from __future__ import annotations

import base64
import json
from pathlib import Path

from transformers import VoxtralConfig, VoxtralForConditionalGeneration, WhisperFeatureExtractor

from tests.extract.models.families.common import DECODER, byte_tokenizer, save

#: Control tokens by number, as in the tekken.json of mistralai/Voxtral-Mini-3B-2507; the processor hard-codes token 24.
CONTROL = {
    0: "<unk>",
    1: "<s>",
    2: "</s>",
    3: "[INST]",
    4: "[/INST]",
    5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]",
    8: "[/TOOL_RESULTS]",
    9: "[TOOL_CALLS]",
    10: "[IMG]",
    11: "<pad>",
    12: "[IMG_BREAK]",
    13: "[IMG_END]",
    14: "[PREFIX]",
    15: "[MIDDLE]",
    16: "[SUFFIX]",
    17: "[SYSTEM_PROMPT]",
    18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]",
    24: "[AUDIO]",
    25: "[BEGIN_AUDIO]",
    34: "[TRANSCRIBE]",
}
N_CONTROL = 40
PATTERN = r" ?[\p{L}]+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"


def tekken(folder: Path, chunk_seconds: float = 1, hop: int = 200, mels: int = 16) -> int:
    """Train a tokenizer, write it in the format of Mistral's checkpoints, and return its vocabulary size."""
    trained = json.loads(byte_tokenizer((), eos=None, pad=None).backend_tokenizer.to_str())["model"]
    letters = {letter: byte for byte, letter in _letters().items()}
    pieces = [bytes([byte]) for byte in range(256)]
    pieces += [bytes(letters[c] for c in "".join(merge)) for merge in trained["merges"]]
    file = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(pieces),
            "default_vocab_size": len(pieces) + N_CONTROL,
            "default_num_special_tokens": N_CONTROL,
            "version": "v7",
        },
        "vocab": [
            {"rank": i, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
            for i, piece in enumerate(pieces)
        ],
        "special_tokens": [
            {"rank": i, "token_str": CONTROL.get(i, f"<SPECIAL_{i}>"), "is_control": True} for i in range(N_CONTROL)
        ],
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": 16000 / hop / 8,
            "chunk_length_s": chunk_seconds,
            "audio_encoding_config": {"num_mel_bins": mels, "hop_length": hop, "window_size": 400},
        },
        "version": 1,
        "type": "Tekken",
    }
    Path(folder, "tekken.json").write_text(json.dumps(file))
    return len(pieces) + N_CONTROL


def _letters() -> dict[int, str]:
    """Return the characters with which byte-level tokenizers represent bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(other)}


def build(folder: Path, chunk_seconds: int = 1, hop: int = 200) -> tuple[int, int, int]:
    """Voxtral: 3 layers of 4 query heads in 2 groups, head dimension 12; windows of 1 s, 10 tokens each."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    vocabulary = tekken(folder, chunk_seconds, hop)
    config = VoxtralConfig(
        audio_config={
            "model_type": "voxtral_encoder",
            "num_mel_bins": 16,
            "hidden_size": 16,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "max_source_positions": chunk_seconds * 16000 // hop // 2,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": vocabulary,
            **DECODER,
            "pad_token_id": 11,
        },
        audio_token_id=24,
    )
    extractor = WhisperFeatureExtractor(feature_size=16, hop_length=hop, chunk_length=chunk_seconds)
    save(
        folder, VoxtralForConditionalGeneration(config), extractor
    )  # released checkpoints contain only an extractor and tekken.json
    return 3, 4, 12
