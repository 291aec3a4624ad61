"""Loading a frozen large audio-language model and finding its way round it."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from calm.extract.decoder import DecoderHeads, find_heads
from calm.extract.tiny import CHECKPOINT, checkpoint_digest, random_tiny

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

#: Short names for well-known checkpoints. ``tiny`` and ``tiny-random`` are built in and need no download.
ALIASES: Mapping[str, str] = {
    "tiny": "tiny",
    "tiny-random": "tiny-random",
    "qwen2-audio": "Qwen/Qwen2-Audio-7B-Instruct",
    "qwen2.5-omni": "Qwen/Qwen2.5-Omni-7B",
}

#: What decides the features of a waveform.
_EXTRACTOR_NUMBERS = ("sampling_rate", "feature_size", "n_fft", "hop_length", "chunk_length", "do_normalize", "dither")

#: Enough values of each tensor to tell any two checkpoints apart, few enough to read in an instant.
_DIGEST_VALUES = 64


@dataclass(frozen=True)
class LALM:
    """A frozen model with its processor, ready to be recorded."""

    name: str  #: as it was asked for
    model: Any  #: a transformers model in evaluation mode, or the part of one that reads text and sound
    processor: Any
    revision: str | None = None  #: commit of a hub checkpoint
    checkpoint: str = ""  #: what :func:`checkpoint_of` told when it was loaded; empty where that is not known

    @cached_property
    def heads(self) -> DecoderHeads:
        """The attention heads of the text decoder."""
        return find_heads(self.model)

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self.model.get_input_embeddings().weight.device

    @property
    def dtype(self) -> str:
        """Of the computation, as ``"float32"``, ``"bfloat16"`` or ``"float16"``."""
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def sampling_rate(self) -> int:
        """In Hz, of the waveforms that the processor takes."""
        return int(self.processor.feature_extractor.sampling_rate)

    @property
    def window_seconds(self) -> float | None:
        """The longest clip the model hears whole; None where it sets no limit."""
        extractor = self.processor.feature_extractor
        samples = getattr(extractor, "n_samples", None)
        return None if samples is None else samples / extractor.sampling_rate

    @cached_property
    def weights_digest(self) -> str:
        """A fingerprint of the weights themselves, whatever they are called and wherever they lie.

        A sample of every tensor goes in.
        """
        import torch

        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            flat = tensor.detach().reshape(-1)
            step = max(1, flat.numel() // _DIGEST_VALUES)
            sample = flat[::step].to(device="cpu", dtype=torch.float32)
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(sample.numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def processor_digest(self) -> str:
        """A fingerprint of how sound and text become inputs: a prompt's tokens, and the feature extractor's numbers."""
        extractor = self.processor.feature_extractor
        numbers = {name: getattr(extractor, name, None) for name in _EXTRACTOR_NUMBERS}
        tokens = self.processor.tokenizer(self.chat("Which of 10 sounds is it?"))["input_ids"]
        return hashlib.sha256(json.dumps([numbers, tokens]).encode()).hexdigest()[:16]

    def chat(self, text: str) -> str:
        """Put the model's chat template round one clip and a text, up to where the model would answer."""
        content = [{"type": "audio"}, {"type": "text", "text": text}]
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )

    def inputs(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        prompts: Sequence[str],
        *,
        padding_side: Literal["left", "right"] = "right",
    ) -> Mapping[str, torch.Tensor]:
        """Turn waveforms and rendered prompts into the model's inputs, on its device.

        Padding goes on the right, where causal attention cannot see it: a prompt keeps the positions that it has
        alone. On the left, it leaves room for an answer to follow.

        Parameters
        ----------
        waveforms : sequence of float32 arrays (samples,)
            Mono, at :attr:`sampling_rate`.
        prompts : sequence of str
            From :meth:`chat`, one a waveform.
        padding_side : {"right", "left"}
        """
        batch = self.processor(
            text=list(prompts),
            audio=list(waveforms),
            sampling_rate=self.sampling_rate,
            padding=True,
            padding_side=padding_side,
            return_tensors="pt",
        )
        return batch.to(self.device, dtype=self.model.dtype)


def load_lalm(
    name: str,
    *,
    revision: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | None = None,
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
        Of the computation. float32 on a CPU and the checkpoint's own elsewhere unless given.
    device : str, optional
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"`` …; the first accelerator unless given.
    device_map : str, optional
        ``"auto"`` spreads a model over several devices (extra ``device-map``). Goes without ``device``.
    trust_remote_code : bool
        Run code that comes with the checkpoint.

    Returns
    -------
    LALM

    Raises
    ------
    ValueError
        If there is no such model (near misses are named), it takes no audio, or its decoder is not understood.
    ImportError
        If ``device_map`` is asked for without its extra.

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
        raise ImportError("device_map needs accelerate: pip install 'calm[device-map]'")
    target = _as_device(device)
    on_cpu = target.type == "cpu" and device_map is None
    wanted = getattr(torch, dtype) if dtype else (torch.float32 if on_cpu else None)
    resolved = resolve_model(name)
    if resolved == "tiny-random":
        if device_map is not None:
            raise ValueError("tiny-random fits on any device: leave device_map out")
        model, processor = random_tiny()
        if wanted is not None:
            model = model.to(wanted)
        commit = None
    else:
        where = str(CHECKPOINT) if resolved == "tiny" else resolved
        with _quiet() if resolved == "tiny" else contextlib.nullcontext():
            model, processor, commit = _load_pretrained(where, name, revision, wanted, device_map, trust_remote_code)
    if device_map is None:
        model = model.to(target)
    lalm = LALM(name, model.eval().requires_grad_(False), processor, commit, checkpoint_of(name, revision))
    _check_takes_audio(lalm)
    _check_whole(lalm)
    _ = lalm.heads  # a decoder that is not understood is told now, not after the first clip
    return lalm


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


def _load_pretrained(
    resolved: str,
    name: str,
    revision: str | None,
    dtype: torch.dtype | None,
    device_map: str | None,
    trust_remote_code: bool,
) -> tuple[Any, Any, str | None]:
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor

    where = {"revision": revision or "main", "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(resolved, **where)
        if hasattr(config, "enable_audio_output"):
            config.enable_audio_output = False  # Omni models: the part that speaks is not needed
        processor = AutoProcessor.from_pretrained(resolved, **where)
        model = AutoModelForMultimodalLM.from_pretrained(
            resolved, config=config, dtype=dtype or "auto", device_map=device_map, **where
        )
    except ImportError as error:
        words = " ".join(str(error).split())
        raise ImportError(
            f"model {name!r} needs further packages, perhaps pip install 'calm[omni]': {words}"
        ) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f"cannot load model {name!r}: {reason}") from error
    model = getattr(model, "thinker", model)  # Omni models: the part that listens and reads
    return model, processor, _commit(resolved, revision)


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


def _commit(resolved: str, revision: str | None) -> str | None:
    """Return the commit of a hub checkpoint that was just loaded, which its place in the hub's cache tells."""
    from huggingface_hub import try_to_load_from_cache

    if Path(resolved).is_dir():
        return None
    config = try_to_load_from_cache(resolved, "config.json", revision=revision)
    return Path(config).parent.name if isinstance(config, str) else None


def _check_takes_audio(lalm: LALM) -> None:
    if getattr(lalm.processor, "feature_extractor", None) is None:
        raise ValueError(
            f"model {lalm.name!r} takes no audio: {type(lalm.processor).__name__} has no feature extractor"
        )


def _check_whole(lalm: LALM) -> None:
    if any(tensor.device.type == "meta" for tensor in lalm.model.state_dict().values()):
        raise ValueError(
            f"model {lalm.name!r} does not fit into the devices' memory: use a smaller dtype or more devices "
            f"(offloading is not supported)"
        )


def checkpoint_of(name: str, revision: str | None) -> str:
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
        return _commit(resolved, revision) or ""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
