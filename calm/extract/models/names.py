"""What models are called, and which checkpoint is behind a name."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from calm.extract.models.tiny import checkpoint_digest

#: Short names for well-known checkpoints. ``tiny`` and ``tiny-random`` are built in and need no download.
ALIASES: Mapping[str, str] = {
    "tiny": "tiny",
    "tiny-random": "tiny-random",
    "qwen2-audio": "Qwen/Qwen2-Audio-7B-Instruct",
    "qwen2.5-omni": "Qwen/Qwen2.5-Omni-7B",
    "qwen2.5-omni-3b": "Qwen/Qwen2.5-Omni-3B",
    "qwen3-omni": "Qwen/Qwen3-Omni-30B-A3B-Instruct",
    "qwen3-asr": "Qwen/Qwen3-ASR-1.7B-hf",
    "voxtral-mini": "mistralai/Voxtral-Mini-3B-2507",
    "voxtral-small": "mistralai/Voxtral-Small-24B-2507",
    "audio-flamingo-3": "nvidia/audio-flamingo-3-hf",
    "music-flamingo": "nvidia/music-flamingo-2601-hf",
    "gemma-3n": "google/gemma-3n-E4B-it",
    "gemma-4": "google/gemma-4-E4B-it",
    "granite-speech": "ibm-granite/granite-speech-3.3-8b",
    "glm-asr": "zai-org/GLM-ASR-Nano-2512",
    "fun-asr-nano": "FunAudioLLM/Fun-ASR-Nano-2512-hf",
    "vibevoice-asr": "microsoft/VibeVoice-ASR-HF",
}


def resolve_model(name: str) -> str:
    """Turn an alias into what it stands for; hub ids and local folders stay as they are.

    Raises
    ------
    ValueError
        If it is none of these; near misses are named.

    Examples
    --------
    >>> resolve_model("qwen2-audio")
    'Qwen/Qwen2-Audio-7B-Instruct'
    """
    if name in ALIASES:
        return ALIASES[name]
    if Path(name).is_dir() or (name.count("/") == 1 and not name.startswith((".", "/", "~"))):
        return name
    near = difflib.get_close_matches(name.lower(), ALIASES, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"aliases are {', '.join(ALIASES)}."
    raise ValueError(f"unknown model {name!r}: {hint} A hub id (owner/name) or a local folder will do too")


def checkpoint_state(name: str, revision: str | None) -> str:
    """Tell a checkpoint from what it may become under the same name, without loading it.

    Returns
    -------
    str
        The commit of a hub checkpoint, as far as it is in the local cache; a digest of names, sizes and times of a
        local folder's files; for what is built in, a digest of its weights, or the name of what is drawn by rule.
    """
    resolved = resolve_model(name)
    if name in ("tiny", "tiny-random"):
        return name if name == "tiny-random" else f"tiny {checkpoint_digest()}"
    folder = Path(resolved)
    if not folder.is_dir():
        return hub_commit(resolved, revision) or ""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


def hub_commit(resolved: str, revision: str | None) -> str | None:
    """Return the commit of a hub checkpoint that was just loaded, which its place in the hub's cache tells."""
    from huggingface_hub import try_to_load_from_cache

    if Path(resolved).is_dir():
        return None
    config = try_to_load_from_cache(resolved, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None
