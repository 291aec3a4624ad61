"""Loading a frozen large audio-language model by an alias, a hub id or a folder."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calm.extract.models.families import family_of
from calm.extract.models.lalm import LALM
from calm.extract.models.memory import check_fits, count_weights
from calm.extract.models.names import checkpoint_of, commit_of, resolve_model
from calm.extract.models.quantize import check_quantize, is_quantized, quantization_config
from calm.extract.models.tiny import CHECKPOINT, random_tiny

if TYPE_CHECKING:
    import torch

#: What transformers says in a ValueError where a package is missing.
_ABOUT_PACKAGES = ("Could not load any image processor class", "Could not load any video processor class")


def load_lalm(
    name: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | None = None,
    attention: str | None = None,
    quantize: str | None = None,
    trust_remote_code: bool = False,
) -> LALM:
    """Load a large audio-language model, frozen and in evaluation mode.

    Parameters
    ----------
    name : str
        An alias (``calm models`` lists them), a hub id (``"owner/name"``) or a local folder.
    revision : str, optional
        Branch, tag or commit of a hub checkpoint.
    dtype : {"float32", "bfloat16", "float16"}, optional
        Of the computation. float32 on a CPU, bfloat16 on a GPU that has it, and the checkpoint's own elsewhere, unless
        given.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` …; the first accelerator unless given.
    device_map : str, optional
        ``"auto"`` spreads a model over several devices (extra ``device-map``). Goes without ``device``.
    attention : str, optional
        How attention is computed, as transformers names it: ``"sdpa"``, ``"eager"``, ``"flash_attention_2"`` …; what
        transformers takes unless given. Head vectors differ by rounding.
    quantize : {"int8", "nf4"}, optional
        Load the weights of linear layers in 8 or 4 bits (extra ``quantize``): less memory, other vectors.
    trust_remote_code : bool
        Run code that comes with the checkpoint.

    Returns
    -------
    LALM

    Raises
    ------
    ValueError
        If there is no such model (near misses are named), it takes no audio, or its decoder is not understood.
    MemoryError
        If its weights are larger than the memory that is free.
    ImportError
        If ``device_map`` or ``quantize`` is asked for without its extra, or the model needs further packages.

    Examples
    --------
    >>> lalm = load_lalm("tiny")
    >>> lalm.heads.shape, lalm.sampling_rate, lalm.window_seconds
    ((6, 8, 32), 16000, 5.0)
    """
    import torch

    if dtype is not None and dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"dtype must be float32, bfloat16 or float16, got {dtype!r}")
    if device_map is not None and device is not None:
        raise ValueError("give device or device_map, not both")
    if device_map is not None and importlib.util.find_spec("accelerate") is None:
        raise ImportError("device_map needs accelerate: pip install 'calm-audio[device-map]'")
    check_quantize(quantize)
    target = _as_device(device)
    wanted = getattr(torch, dtype) if dtype else _usual_dtype(target)
    resolved = resolve_model(name)
    if resolved == "tiny-random":
        if device_map is not None or quantize is not None:
            raise ValueError("tiny-random fits on any device: leave device_map and quantize out")
        model, processor = random_tiny()
        model = model.to(device=target, dtype=wanted)
        if attention is not None:
            model.set_attn_implementation(attention)
        commit = None
    else:
        where = str(CHECKPOINT) if resolved == "tiny" else resolved
        how = _How(revision, wanted, target, device_map, attention, quantize, trust_remote_code)
        with _quiet() if resolved == "tiny" else contextlib.nullcontext():
            model, processor = _load_pretrained(where, name, how)
        commit = commit_of(where, revision)
    lalm = LALM(name, model.eval().requires_grad_(False), processor, commit, checkpoint_of(name, revision))
    _check_takes_prompt(lalm)
    _check_whole(lalm)
    _ = lalm.heads  # a decoder that is not understood is told now, not after the first clip
    return lalm


def _as_device(device: str | None) -> torch.device:
    import torch

    if device is None:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator if accelerator is not None else torch.device("cpu")
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    return target


def _usual_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype of the computation unless one is given; None for the checkpoint's own."""
    import torch

    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else None


@dataclass(frozen=True)
class _How:
    """How a checkpoint is to be loaded."""

    revision: str | None
    dtype: torch.dtype | None  #: None for the checkpoint's own
    device: torch.device  #: where all of it goes, unless there is a map
    device_map: str | None
    attention: str | None
    quantize: str | None
    trust_remote_code: bool

    def devices(self) -> list[torch.device]:
        """Return the devices that share the weights."""
        import torch

        if self.device_map is None or self.device.type == "cpu":
            return [self.device]
        return [torch.device(self.device.type, i) for i in range(torch.accelerator.device_count())]


def _load_pretrained(resolved: str, name: str, how: _How) -> tuple[Any, Any]:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoProcessor, PreTrainedConfig

    where = {"revision": how.revision or "main", "trust_remote_code": how.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(resolved, **where)
        thinker = getattr(config, "thinker_config", None)  # Omni models: the part that listens and reads
        if isinstance(thinker, PreTrainedConfig):
            if is_quantized(config):
                thinker.quantization_config = config.quantization_config
            config = thinker
        auto_class = _auto_class(config)
        processor = AutoProcessor.from_pretrained(resolved, **where)
        _check_takes_audio(config, processor)  # before anything large is loaded
        if is_quantized(config) and how.quantize is not None:
            raise ValueError("it is quantized already: leave quantize out")
        if not is_quantized(config):
            # Where only the checkpoint's files tell its dtype, what surely does not fit is refused, and nothing else.
            least = how.dtype or getattr(config, "dtype", None) or torch.bfloat16
            weights = count_weights(auto_class, config, how.trust_remote_code)
            check_fits(weights, least, how.devices(), how.quantize)
        # Weights in fewer bits cannot be moved once they are there.
        stays = how.quantize is not None or is_quantized(config)
        fewer = {}
        if how.quantize is not None:
            fewer["quantization_config"] = quantization_config(how.quantize, how.dtype or torch.bfloat16)
        model, loading = auto_class.from_pretrained(
            resolved,
            config=config,
            dtype=how.dtype or "auto",
            device_map=how.device_map or ({"": how.device} if stays else None),
            attn_implementation=how.attention,
            output_loading_info=True,
            **fewer,
            **where,
        )
        if how.device_map is None and not stays:
            model = model.to(how.device)
        _check_complete(model, loading["missing_keys"])
        _add_adapter(model, resolved, how.revision)
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
    _mask_everywhere(model.config)
    return model, processor


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
        _need_peft()


def _check_complete(model: Any, missing: Collection[str]) -> None:
    """Refuse weights that transformers would make up, which a checkpoint of another layout leads to."""
    if missing:
        raise ValueError(
            f"its files lack {len(missing)} of the weights of {type(model).__name__} ({min(missing)} …); is there a "
            f'version of it for transformers ("…-hf")?'
        )


def _add_adapter(model: Any, resolved: str, revision: str | None) -> None:
    """Add the adapter that lets a model understand sound, where its checkpoint keeps one apart from the weights."""
    from transformers.utils import find_adapter_config_file

    folder = family_of(model.config).adapter
    if folder is None or find_adapter_config_file(resolved, subfolder=folder, revision=revision or "main") is None:
        return
    _need_peft()
    model.load_adapter(resolved, adapter_name=folder, adapter_kwargs={"subfolder": folder, "revision": revision})
    model.set_adapter(folder)


def _need_peft() -> None:
    if importlib.util.find_spec("peft") is None:
        raise ImportError("peft, for the adapter by which it understands sound")


def _mask_everywhere(config: Any) -> None:
    """Let parts that transformers left without an attention implementation mask padding too.

    The adaptor of Fun-ASR-Nano is no model of its own, and so its part of the config says None. Its attention is
    computed the eager way all the same, but no mask is made for it: a clip would hear the padding of its batch.
    """
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            if part._attn_implementation is None:
                part._attn_implementation_internal = "eager"
            _mask_everywhere(part)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Show no progress of loading: it takes no time."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _check_takes_prompt(lalm: LALM) -> None:
    templates = (getattr(part, "chat_template", None) for part in (lalm.processor, lalm.processor.tokenizer))
    if lalm.family.chat is None and not any(templates):
        raise ValueError(f"model {lalm.name!r} takes no prompt: it comes without a chat template")


def _check_whole(lalm: LALM) -> None:
    if any(tensor.device.type == "meta" for tensor in lalm.model.state_dict().values()):
        raise ValueError(
            f"model {lalm.name!r} does not fit into the devices' memory: use a smaller dtype or more devices "
            f"(offloading is not supported)"
        )
