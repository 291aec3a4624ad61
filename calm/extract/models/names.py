"""Model names: aliases, hub ids and local folders, and the state of the checkpoint behind a name."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path

from calm.extract.models.tiny import checkpoint_digest

#: Alias of each well-known checkpoint, and its hub id. ``tiny`` and ``tiny-random`` are built in: no download.
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
    """Return the hub id or folder that a model name stands for.

    Parameters
    ----------
    name : str
        An alias (``calm models`` lists them), a hub id (``"owner/name"``) or a local folder.

    Returns
    -------
    str
        The hub id of an alias. Hub ids, local folders, ``"tiny"`` and ``"tiny-random"`` are returned unchanged.

    Raises
    ------
    ValueError
        If the name is none of these. The message suggests similar aliases.

    See Also
    --------
    calm.extract.load_lalm : Load the model behind a name.
    calm.extract.checkpoint_state : Identify the state of the checkpoint behind a name.

    Examples
    --------
    >>> resolve_model("qwen2-audio")
    'Qwen/Qwen2-Audio-7B-Instruct'
    """
    if name in ALIASES:
        return ALIASES[name]
    if Path(name).is_dir() or (name.count("/") == 1 and not name.startswith((".", "/", "~"))):
        return name
    similar = difflib.get_close_matches(name.lower(), ALIASES, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"the aliases are {', '.join(ALIASES)}."
    raise ValueError(f"unknown model {name!r}: {hint} You can also use a hub id (owner/name) or a local folder")


def checkpoint_state(name: str, revision: str | None) -> str:
    """Identify the current state of a checkpoint without loading it.

    A checkpoint may change while its name stays the same. Two equal states mean the same checkpoint.

    Parameters
    ----------
    name : str
        Model name, as for :func:`calm.extract.resolve_model`.
    revision : str or None
        Branch, tag or commit of a hub checkpoint. None means its main branch.

    Returns
    -------
    str
        Commit of a hub checkpoint, or an empty string if it is not in the local cache. For a local folder, a digest of
        the names, sizes and modification times of its files. For ``"tiny"``, a digest of its weights. For
        ``"tiny-random"``, its name.

    See Also
    --------
    calm.extract.resolve_model : Return the hub id or folder that a model name stands for.
    calm.extract.load_lalm : Load a model and note the state of its checkpoint.

    Examples
    --------
    >>> checkpoint_state("tiny-random", None)
    'tiny-random'
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
    """Return the commit of a hub checkpoint in the local cache; None for a folder or an unknown commit."""
    from huggingface_hub import try_to_load_from_cache

    if Path(resolved).is_dir():
        return None
    config = try_to_load_from_cache(resolved, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None
