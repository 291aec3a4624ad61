"""A checkpoint's configuration and processor: what it is, told before its weights are read."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from calm.extract.models.families import Family, family_of
from calm.extract.models.names import resolve_model
from calm.extract.models.quantize import is_quantized
from calm.extract.models.tiny import CHECKPOINT

#: What transformers says in a ValueError where a package is missing.
_ABOUT_PACKAGES = ("Could not load any image processor class", "Could not load any video processor class")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint without its weights."""

    name: str  #: as it was asked for
    path: str  #: a hub id or a folder
    revision: str | None
    config: Any  #: of the part that hears and reads
    processor: Any
    auto_class: Any  #: of transformers, that loads the weights
    trust_remote_code: bool

    @property
    def family(self) -> Family:
        """What sets its family of models apart."""
        return family_of(self.config)

    @property
    def from_pretrained_kwargs(self) -> dict[str, Any]:
        """What every ``from_pretrained`` is told besides its path."""
        return {"revision": self.revision or "main", "trust_remote_code": self.trust_remote_code}


def read_checkpoint(name: str, revision: str | None = None, trust_remote_code: bool = False) -> Checkpoint:
    """Read a checkpoint's configuration and processor, and refuse one that cannot be asked about a sound.

    Raises
    ------
    ValueError
        If there is no such model, it takes no audio or no prompt.
    ImportError
        If it needs further packages.
    """
    from transformers import AutoConfig, AutoProcessor, PreTrainedConfig

    path = str(CHECKPOINT) if name in ("tiny", "tiny-random") else resolve_model(name)
    from_pretrained_kwargs = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    with one_line_refusals(name):
        config = AutoConfig.from_pretrained(path, **from_pretrained_kwargs)
        thinker = getattr(config, "thinker_config", None)  # Omni models: the part that listens and reads
        if isinstance(thinker, PreTrainedConfig):
            if is_quantized(config):
                thinker.quantization_config = config.quantization_config
            config = thinker
        auto_class = _auto_class(config)
        processor = AutoProcessor.from_pretrained(path, **from_pretrained_kwargs)
        _check_takes_audio(config, processor)
    templates = (getattr(part, "chat_template", None) for part in (processor, processor.tokenizer))
    if family_of(config).chat is None and not any(templates):
        raise ValueError(f"model {name!r} takes no prompt: it comes without a chat template")
    return Checkpoint(name, path, revision, config, processor, auto_class, trust_remote_code)


@contextlib.contextmanager
def one_line_refusals(name: str) -> Iterator[None]:
    """Tell in one line why a model cannot be loaded, whatever transformers raises."""
    from safetensors import SafetensorError

    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"cannot load model {name!r}: {error}") from error
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        words = " ".join(str(error).split())
        if isinstance(error, ImportError) or any(about in words for about in _ABOUT_PACKAGES):
            raise ImportError(
                f"model {name!r} needs further packages, perhaps pip install 'calm-audio[families]': {words}"
            ) from error
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"cannot load model {name!r}: {reason}") from error


def _auto_class(config: Any) -> Any:
    """Return the automatic class that knows a model; refuse one that cannot be asked about a sound.

    A few families are filed under another automatic class than the rest.
    """
    from transformers import AutoModelForMultimodalLM, AutoModelForSeq2SeqLM

    why = family_of(config).no_prompt
    if why is not None:
        raise ValueError(f"it takes no prompt: {why}")
    remote = getattr(config, "auto_map", None) or {}
    if type(config) in AutoModelForMultimodalLM._model_mapping or "AutoModelForMultimodalLM" in remote:
        return AutoModelForMultimodalLM
    if type(config) in AutoModelForSeq2SeqLM._model_mapping and not getattr(config, "is_encoder_decoder", False):
        return AutoModelForSeq2SeqLM
    raise ValueError(
        f"transformers has no {config.model_type} model that takes a sound and a text and answers in words "
        f"(AutoModelForMultimodalLM)"
    )


def _check_takes_audio(config: Any, processor: Any) -> None:
    if not any(getattr(processor, name, None) for name in ("feature_extractor", "audio_processor")):
        raise ValueError(f"it takes no audio: {type(processor).__name__} has no feature extractor")
    if getattr(config, "audio_config", config) is None:
        raise ValueError(f"it takes no audio: this size of {config.model_type} has no part for it")
    if getattr(config, "has_lora_adapter", False):
        require_peft()


def require_peft() -> None:
    """Refuse to go on without the package that loads adapters."""
    if importlib.util.find_spec("peft") is None:
        raise ImportError("peft, for the adapter by which it understands sound")
