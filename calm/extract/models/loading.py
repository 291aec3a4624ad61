"""LoadOptions a frozen large audio-language model by an alias, a hub id or a folder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from calm.extract.models.checkpoint import Checkpoint, one_line_refusals, read_checkpoint, require_peft
from calm.extract.models.inputs import InputBuilder
from calm.extract.models.lalm import LALM
from calm.extract.models.memory import check_fits, count_weights
from calm.extract.models.names import checkpoint_state, hub_commit
from calm.extract.models.placement import LoadOptions, Placement, default_dtype
from calm.extract.models.quantize import check_quantize, is_quantized, quantization_config
from calm.extract.models.tiny import random_tiny
from calm.options import build_group, document_options, options_of

if TYPE_CHECKING:
    import torch


#: One model is loaded at a time: transformers sets the default precision of the whole process meanwhile.
_TURN = threading.RLock()


@document_options(LoadOptions, Placement)
def load_lalm(name: str, **options: Any) -> LALM:
    """Load a large audio-language model, frozen and in evaluation mode.

    Parameters
    ----------
    name : str
        An alias (``calm models`` lists them), a hub id (``"owner/name"``) or a local folder.
    {options}

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

    See Also
    --------
    calm.extract.Request.load : Loads the model that a request names.
    load_input_builder : Loads what makes a model's inputs, without its weights.

    Examples
    --------
    >>> lalm = load_lalm("tiny")
    >>> lalm.heads.shape, lalm.builder.sampling_rate, lalm.builder.window_seconds
    ((6, 8, 32), 16000, 5.0)
    """
    placed = {option: options.pop(option) for option in options_of(Placement) if option in options}
    how, place = build_group(LoadOptions, options), build_group(Placement, placed)
    with _TURN:
        return _load(name, how, place)


def _load(name: str, how: LoadOptions, place: Placement) -> LALM:
    import torch

    place.check()
    check_quantize(how.quantize)
    wanted = getattr(torch, how.dtype) if how.dtype else default_dtype(place.target)
    checkpoint = read_checkpoint(name, how.revision, place.trust_remote_code)
    if name == "tiny-random":
        model = _draw_weights(place, wanted, how.quantize)
    else:
        with one_line_refusals(name), _quiet() if name == "tiny" else contextlib.nullcontext():
            model = _load_weights(checkpoint, place, wanted, how.quantize)
        _mask_everywhere(model.config)
    lalm = LALM(
        name,
        model.eval().requires_grad_(False),
        checkpoint.processor,
        revision=how.revision,
        commit=hub_commit(checkpoint.path, how.revision),
        checkpoint=checkpoint_state(name, how.revision),
        quantize=how.quantize,
    )
    _check_whole(lalm)
    _ = lalm.heads  # a decoder that is not understood is told now, not after the first clip
    return lalm


def load_input_builder(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> InputBuilder:
    """Load what makes a model's inputs, without the weights: for processes that only prepare clips.

    Features are float32; :attr:`calm.extract.LALM.builder` makes them in the model's dtype.

    Parameters
    ----------
    name, revision, trust_remote_code
        As for :func:`load_lalm`.

    Raises
    ------
    ValueError, ImportError
        As :func:`load_lalm` does.

    Examples
    --------
    >>> load_input_builder("tiny").sampling_rate
    16000
    """
    with _TURN:
        found = read_checkpoint(name, revision, trust_remote_code)
    return InputBuilder(found.processor, found.family, found.config, name)


def _draw_weights(place: Placement, dtype: torch.dtype | None, quantize: str | None) -> Any:
    if place.device_map is not None or quantize is not None:
        raise ValueError("tiny-random fits on any device: leave device_map and quantize out")
    model, _ = random_tiny()
    model = model.to(device=place.target, dtype=dtype)
    if place.attention is not None:
        model.set_attn_implementation(place.attention)
    return model


def _load_weights(found: Checkpoint, place: Placement, dtype: torch.dtype | None, quantize: str | None) -> Any:
    import torch

    if is_quantized(found.config) and quantize is not None:
        raise ValueError("it is quantized already: leave quantize out")
    if not is_quantized(found.config):
        # Where only the checkpoint's files tell its dtype, what surely does not fit is refused, and nothing else.
        least = dtype or getattr(found.config, "dtype", None) or torch.bfloat16
        weights = count_weights(found.auto_class, found.config, found.trust_remote_code)
        check_fits(weights, least, place.devices, quantize)
    # Weights in fewer bits cannot be moved once they are there.
    stays = quantize is not None or is_quantized(found.config)
    fewer = {}
    if quantize is not None:
        fewer["quantization_config"] = quantization_config(quantize, dtype or torch.bfloat16)
    model, report = found.auto_class.from_pretrained(
        found.path,
        config=found.config,
        dtype=dtype or "auto",
        device_map=place.device_map or ({"": place.target} if stays else None),
        attn_implementation=place.attention,
        output_loading_info=True,
        **fewer,
        **found.from_pretrained_kwargs,
    )
    if place.device_map is None and not stays:
        model = model.to(place.target)
    _check_complete(model, report["missing_keys"])
    _add_adapter(model, found)
    return model


def _check_complete(model: Any, missing: Collection[str]) -> None:
    """Refuse weights that transformers would make up, which a checkpoint of another layout leads to."""
    if missing:
        raise ValueError(
            f"its files lack {len(missing)} of the weights of {type(model).__name__} ({min(missing)} …); is there a "
            f'version of it for transformers ("…-hf")?'
        )


def _add_adapter(model: Any, found: Checkpoint) -> None:
    """Add the adapter that lets a model understand sound, where its checkpoint keeps one apart from the weights."""
    from transformers.utils import find_adapter_config_file

    folder, revision = found.family.adapter, found.revision
    if folder is None or find_adapter_config_file(found.path, subfolder=folder, revision=revision or "main") is None:
        return
    require_peft()
    model.load_adapter(found.path, adapter_name=folder, adapter_kwargs={"subfolder": folder, "revision": revision})
    model.set_adapter(folder)


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


def _check_whole(lalm: LALM) -> None:
    if any(tensor.device.type == "meta" for tensor in lalm.model.state_dict().values()):
        raise ValueError(
            f"model {lalm.name!r} does not fit into the devices' memory: use a smaller dtype or more devices "
            f"(offloading is not supported)"
        )
