"""``calm models``: list the aliases of models."""

from __future__ import annotations

from typing import Annotated

import typer

from calm.cli._shared import one_line_errors, print_json, print_table

_DESCRIPTIONS = {
    "tiny": "built in, no download; trained on synthesized sounds, for a quick trial",
    "tiny-random": "tiny with random weights, as a baseline",
    "qwen2-audio": "8.4 B parameters, 32 layers × 32 heads",
    "qwen2.5-omni": "Thinker only, 8.9 B parameters, 28 layers × 28 heads",
    "qwen2.5-omni-3b": "Thinker only, 4.7 B parameters",
    "qwen3-omni": "Thinker only, 31.7 B parameters, 3 B of them active",
    "qwen3-asr": "2.0 B parameters, for transcription",
    "voxtral-mini": "4.7 B parameters, clips of any length",
    "voxtral-small": "24.3 B parameters, clips of any length",
    "audio-flamingo-3": "8 B parameters, 28 layers × 28 heads, clips up to 10 minutes",
    "music-flamingo": "8 B parameters, clips up to 20 minutes",
    "gemma-3n": "8 B parameters",
    "gemma-4": "8 B parameters",
    "granite-speech": "9 B parameters, for speech",
    "glm-asr": "2.3 B parameters, for transcription",
    "fun-asr-nano": "1.0 B parameters, for transcription",
    "vibevoice-asr": "9 B parameters, for transcription",
}


@one_line_errors
def models(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """List the aliases of models. Commands also accept any hub id or local folder as a model."""
    from calm.extract import ALIASES

    if json:
        print_json(dict(ALIASES))
        return
    print_table(
        ("alias", "stands for", "description"), [(a, target, _DESCRIPTIONS[a]) for a, target in ALIASES.items()]
    )
