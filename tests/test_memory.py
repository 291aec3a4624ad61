"""A model that does not fit is told before its weights are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForMultimodalLM

from calm.extract import load_lalm, memory
from tests.conftest import another_tiny


def test_the_estimate_is_what_the_weights_take() -> None:
    model, _ = another_tiny()
    expected = sum(p.numel() for p in model.parameters()) * 2
    assert memory.weight_bytes(AutoModelForMultimodalLM, model.config, torch.bfloat16) == expected


def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint has no weights at all: they are not looked for."""
    _, processor = another_tiny()
    AutoConfig.for_model("qwen2_audio").save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 30e9)
    with pytest.raises(MemoryError) as error:
        load_lalm(str(tmp_path), device="cpu")
    message = str(error.value)
    assert "GB in float32, and cpu has 30.0 GB free" in message and "in bfloat16 they take 2" in message
    with pytest.raises(ValueError, match="no file named model.safetensors"):
        load_lalm(str(tmp_path), device="cpu", dtype="bfloat16")


def test_where_the_dtype_is_not_known_only_what_surely_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 would not fit, but nobody said float32: on an accelerator, the files tell."""
    _, processor = another_tiny()
    config = AutoConfig.for_model("qwen2_audio")
    config.dtype = None
    config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 30e9)
    with pytest.raises(ValueError, match="no file named model.safetensors"):
        load_lalm(str(tmp_path), device="meta")


def test_attention_is_computed_as_asked() -> None:
    assert load_lalm("tiny-random", device="cpu", attention="eager").model.config._attn_implementation == "eager"
    assert load_lalm("tiny", device="cpu", attention="eager").model.config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="cannot load model 'tiny': .*nonsense"):
        load_lalm("tiny", device="cpu", attention="nonsense")
