"""A checkpoint's configuration and processor, read and checked before its weights."""

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

#: Messages of a ValueError with which transformers reports a missing package.
_MISSING_PACKAGE_MESSAGES = ("Could not load any image processor class", "Could not load any video processor class")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint without its weights."""

    name: str  #: requested name
    path: str  #: hub id or folder
    revision: str | None
    config: Any  #: configuration of the model; for Omni models, of the part that reads audio and text
    processor: Any
    auto_class: Any  #: Auto class of transformers that loads the weights
    trust_remote_code: bool

    @property
    def family(self) -> Family:
        """What distinguishes the model's family."""
        return family_of(self.config)

    @property
    def from_pretrained_kwargs(self) -> dict[str, Any]:
        """Arguments of every ``from_pretrained`` in addition to the path."""
        return {"revision": self.revision or "main", "trust_remote_code": self.trust_remote_code}


def read_checkpoint(name: str, revision: str | None = None, trust_remote_code: bool = False) -> Checkpoint:
    """Read a checkpoint's configuration and processor, and check that it takes audio and a prompt.

    Raises
    ------
    ValueError
        If the model does not exist, or takes no audio or no prompt.
    ImportError
        If the model needs packages that are not installed.
    """
    from transformers import AutoConfig, AutoProcessor, PreTrainedConfig

    path = str(CHECKPOINT) if name in ("tiny", "tiny-random") else resolve_model(name)
    from_pretrained_kwargs = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    with one_line_errors(name):
        config = AutoConfig.from_pretrained(path, **from_pretrained_kwargs)
        thinker = getattr(config, "thinker_config", None)  # Omni models: the part that reads audio and text
        if isinstance(thinker, PreTrainedConfig):
            if is_quantized(config):
                thinker.quantization_config = config.quantization_config
            config = thinker
        auto_class = _auto_class(config)
        processor = AutoProcessor.from_pretrained(path, **from_pretrained_kwargs)
        _check_takes_audio(config, processor)
    templates = (getattr(part, "chat_template", None) for part in (processor, processor.tokenizer))
    if family_of(config).chat_template is None and not any(templates):
        raise ValueError(f"model {name!r} takes no prompt: its checkpoint has no chat template")
    return Checkpoint(name, path, revision, config, processor, auto_class, trust_remote_code)


@contextlib.contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Replace any exception of transformers by a message of one line that says why a model cannot be loaded."""
    from safetensors import SafetensorError

    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"cannot load model {name!r}: {error}") from error
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        message = " ".join(str(error).split())
        if isinstance(error, ImportError) or any(text in message for text in _MISSING_PACKAGE_MESSAGES):
            raise ImportError(
                f"model {name!r} needs more packages, try pip install 'calm-audio[families]': {message}"
            ) from error
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"cannot load model {name!r}: {reason}") from error


def _auto_class(config: Any) -> Any:
    """Return the Auto class that loads a model, after a check that it takes audio and a prompt.

    A few families are registered with another Auto class than the rest.
    """
    from transformers import AutoModelForMultimodalLM, AutoModelForSeq2SeqLM

    reason = family_of(config).no_prompt
    if reason is not None:
        raise ValueError(f"it takes no prompt: {reason}")
    remote_classes = getattr(config, "auto_map", None) or {}
    if type(config) in AutoModelForMultimodalLM._model_mapping or "AutoModelForMultimodalLM" in remote_classes:
        return AutoModelForMultimodalLM
    if type(config) in AutoModelForSeq2SeqLM._model_mapping and not getattr(config, "is_encoder_decoder", False):
        return AutoModelForSeq2SeqLM
    raise ValueError(
        f"transformers has no {config.model_type} model that takes audio and text and generates text "
        f"(AutoModelForMultimodalLM)"
    )


def _check_takes_audio(config: Any, processor: Any) -> None:
    """Raise an exception if the model has no audio input, or needs peft for it and peft is not installed."""
    if not any(getattr(processor, name, None) for name in ("feature_extractor", "audio_processor")):
        raise ValueError(f"it takes no audio: {type(processor).__name__} has no feature extractor")
    if getattr(config, "audio_config", config) is None:
        raise ValueError(f"it takes no audio: this size of {config.model_type} has no audio encoder")
    if getattr(config, "has_lora_adapter", False):
        require_peft()


def require_peft() -> None:
    """Raise an exception if peft, which loads adapters, is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise ImportError("its audio adapter needs peft")
