"""Loading of a frozen large audio-language model by its alias, hub id or folder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from calm.extract.models.checkpoint import Checkpoint, one_line_errors, read_checkpoint, require_peft
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


#: Held while a model is loaded: transformers changes the default dtype of the whole process during that time.
_LOADING_LOCK = threading.RLock()


@document_options(LoadOptions, Placement)
def load_lalm(name: str, **options: Any) -> LALM:
    """Load a frozen large audio-language model in evaluation mode.

    Parameters
    ----------
    name : str
        An alias (``calm models`` lists them), a hub id (``"owner/name"``) or a local folder.
    {options}

    Returns
    -------
    LALM
        Model with its processor and attention heads.

    Raises
    ------
    ValueError
        If the model does not exist (the message suggests similar aliases), takes no audio, or has a decoder of unknown
        structure.
    MemoryError
        If the weights do not fit into the free memory.
    ImportError
        If the model, ``device_map`` or ``quantize`` needs packages that are not installed.

    See Also
    --------
    calm.extract.load_input_builder : Load the builder of a model's inputs, without its weights.
    calm.Request.load : Load the model of a request.
    calm.extract.resolve_model : Return the hub id or folder that a name stands for.

    Examples
    --------
    >>> lalm = load_lalm("tiny")
    >>> lalm.heads.shape, lalm.builder.sampling_rate, lalm.builder.window_seconds
    ((6, 8, 32), 16000, 5.0)
    """
    placement_options = {name: options.pop(name) for name in options_of(Placement) if name in options}
    load_options, placement = build_group(LoadOptions, options), build_group(Placement, placement_options)
    with _LOADING_LOCK:
        return _load(name, load_options, placement)


def _load(name: str, load_options: LoadOptions, placement: Placement) -> LALM:
    """Load a checkpoint, check it and freeze it."""
    import torch

    revision, quantize = load_options.revision, load_options.quantize
    placement.check()
    check_quantize(quantize)
    dtype = getattr(torch, load_options.dtype) if load_options.dtype else default_dtype(placement.target)
    checkpoint = read_checkpoint(name, revision, placement.trust_remote_code)
    if name == "tiny-random":
        model = _build_random_tiny(placement, dtype, quantize)
    else:
        with one_line_errors(name), _without_progress_bar() if name == "tiny" else contextlib.nullcontext():
            model = _load_weights(checkpoint, placement, dtype, quantize)
        _use_eager_attention_by_default(model.config)
    lalm = LALM(
        name,
        model.eval().requires_grad_(False),
        checkpoint.processor,
        revision=revision,
        commit=hub_commit(checkpoint.path, revision),
        checkpoint=checkpoint_state(name, revision),
        quantize=quantize,
    )
    _check_not_offloaded(lalm)
    _ = lalm.heads  # raises ValueError now, and not after the first clip, for a decoder of unknown structure
    return lalm


def load_input_builder(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> InputBuilder:
    """Load the builder of a model's inputs without the model's weights.

    It suits processes that only prepare clips. Its features are float32; those of :attr:`calm.extract.LALM.builder`
    have the model's dtype.

    Parameters
    ----------
    name : str
        An alias (``calm models`` lists them), a hub id (``"owner/name"``) or a local folder.
    revision : str, default=None
        Branch, tag or commit of a hub model. None means its main branch.
    trust_remote_code : bool, default=False
        Run Python code from the model's repository or folder.

    Returns
    -------
    InputBuilder
        Builder with the checkpoint's processor and configuration.

    Raises
    ------
    ValueError
        If the model does not exist, or takes no audio or no prompt.
    ImportError
        If the model needs packages that are not installed.

    See Also
    --------
    calm.extract.load_lalm : Load the model with its weights.

    Examples
    --------
    >>> load_input_builder("tiny").sampling_rate
    16000
    """
    with _LOADING_LOCK:
        checkpoint = read_checkpoint(name, revision, trust_remote_code)
    return InputBuilder(checkpoint.processor, checkpoint.family, checkpoint.config, name)


def _build_random_tiny(placement: Placement, dtype: torch.dtype | None, quantize: str | None) -> Any:
    """Build the model ``tiny-random`` on a single device."""
    if placement.device_map is not None or quantize is not None:
        raise ValueError("tiny-random supports neither device_map nor quantize: leave them out")
    model, _ = random_tiny()
    model = model.to(device=placement.target, dtype=dtype)
    if placement.attention is not None:
        model.set_attn_implementation(placement.attention)
    return model


def _load_weights(checkpoint: Checkpoint, placement: Placement, dtype: torch.dtype | None, quantize: str | None) -> Any:
    """Load a checkpoint's weights and adapter, after a check that they fit into memory."""
    import torch

    if is_quantized(checkpoint.config) and quantize is not None:
        raise ValueError("its checkpoint is already quantized: leave quantize out")
    if not is_quantized(checkpoint.config):
        # If only the weight files specify a dtype, assume the smallest one: refuse only what certainly does not fit.
        smallest_dtype = dtype or getattr(checkpoint.config, "dtype", None) or torch.bfloat16
        weights = count_weights(checkpoint.auto_class, checkpoint.config, checkpoint.trust_remote_code)
        check_fits(weights, smallest_dtype, placement.devices, quantize)
    # Quantized weights cannot be moved to another device after loading.
    is_immovable = quantize is not None or is_quantized(checkpoint.config)
    quantization_kwargs = {}
    if quantize is not None:
        quantization_kwargs["quantization_config"] = quantization_config(quantize, dtype or torch.bfloat16)
    model, loading_info = checkpoint.auto_class.from_pretrained(
        checkpoint.path,
        config=checkpoint.config,
        dtype=dtype or "auto",
        device_map=placement.device_map or ({"": placement.target} if is_immovable else None),
        attn_implementation=placement.attention,
        output_loading_info=True,
        **quantization_kwargs,
        **checkpoint.from_pretrained_kwargs,
    )
    if placement.device_map is None and not is_immovable:
        model = model.to(placement.target)
    _check_complete(model, loading_info["missing_keys"])
    _add_adapter(model, checkpoint)
    return model


def _check_complete(model: Any, missing: Collection[str]) -> None:
    """Refuse a checkpoint of another layout, for which transformers would initialize weights at random."""
    if missing:
        raise ValueError(
            f"its files lack {len(missing)} of the weights of {type(model).__name__}, {min(missing)} first: "
            f'use the version for transformers ("…-hf"), if there is one'
        )


def _add_adapter(model: Any, checkpoint: Checkpoint) -> None:
    """Load the audio adapter of a model whose checkpoint stores it separately from the weights."""
    from transformers.utils import find_adapter_config_file

    folder, revision = checkpoint.family.adapter, checkpoint.revision
    if folder is None:
        return
    if find_adapter_config_file(checkpoint.path, subfolder=folder, revision=revision or "main") is None:
        return
    require_peft()
    model.load_adapter(checkpoint.path, adapter_name=folder, adapter_kwargs={"subfolder": folder, "revision": revision})
    model.set_adapter(folder)


def _use_eager_attention_by_default(config: Any) -> None:
    """Set eager attention for parts of the model without an attention implementation, so that they mask padding.

    The adaptor of Fun-ASR-Nano is not a model class of transformers, and the implementation in its config is None.
    transformers then computes eager attention, but builds no attention mask. The padding of a batch would
    change a clip's vectors.
    """
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            if part._attn_implementation is None:
                part._attn_implementation_internal = "eager"
            _use_eager_attention_by_default(part)


@contextlib.contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Hide the progress bar of transformers for a model that loads at once."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _check_not_offloaded(lalm: LALM) -> None:
    """Refuse a model of which the device map left weights outside the devices."""
    if any(tensor.device.type == "meta" for tensor in lalm.model.state_dict().values()):
        raise ValueError(
            f"model {lalm.name!r} does not fit into the memory of its devices: use a smaller dtype or more devices "
            f"(offloading is not supported)"
        )
