"""A model that does not fit into memory is refused before its weights are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForMultimodalLM

from calm.extract import load_lalm
from calm.extract.models import memory
from tests.conftest import another_tiny


def test_the_estimate_is_what_the_weights_take() -> None:
    model, _ = another_tiny()
    expected = sum(p.numel() for p in model.parameters()) * 2
    assert memory.count_weights(AutoModelForMultimodalLM, model.config).bytes(torch.bfloat16) == expected


def test_a_model_that_does_not_fit_is_refused_with_a_suggestion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint has no weight files: the check does not need them."""
    _, processor = another_tiny()
    AutoConfig.for_model("qwen2_audio").save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 30e9)
    with pytest.raises(MemoryError) as error:
        load_lalm(str(tmp_path), device="cpu")
    message = str(error.value)
    assert "GB in float32, but cpu has 30.0 GB free" in message and "in bfloat16 they need 2" in message
    with pytest.raises(ValueError, match="no file named model.safetensors"):
        load_lalm(str(tmp_path), device="cpu", dtype="bfloat16")


def test_where_the_dtype_is_not_known_only_what_surely_does_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 would not fit, but on an accelerator the weight files determine the dtype."""
    _, processor = another_tiny()
    config = AutoConfig.for_model("qwen2_audio")
    config.dtype = None
    config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    monkeypatch.setattr(memory, "free_bytes", lambda _: 30e9)
    with pytest.raises(ValueError, match="no file named model.safetensors"):
        load_lalm(str(tmp_path), device="meta")


def test_the_requested_attention_implementation_is_used() -> None:
    assert load_lalm("tiny-random", device="cpu", attention="eager").model.config._attn_implementation == "eager"
    assert load_lalm("tiny", device="cpu", attention="eager").model.config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="cannot load model 'tiny': .*nonsense"):
        load_lalm("tiny", device="cpu", attention="nonsense")


def test_options_that_need_less_memory_are_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10e9)
    gpus, weights = [torch.device("cuda", 0), torch.device("cuda", 1)], memory.Weights(int(8e9), int(1e9))
    memory.check_fits(weights, torch.bfloat16, gpus)
    whole = (
        "36.0 GB in float32, but 2 devices together have 20.0 GB free; "
        "in bfloat16 they need 18.0 GB; in int8 they need 12.0 GB; in nf4 they need 8.5 GB"
    )
    in_8_bits = (
        "12.0 GB in int8, but cuda:0 has 10.0 GB free; in nf4 they need 8.5 GB; device_map='auto' spreads them over"
    )
    for where, quantize, message in ((gpus, None, whole), (gpus[:1], "int8", in_8_bits)):
        with pytest.raises(MemoryError, match=message):
            memory.check_fits(weights, torch.float32, where, quantize)
    memory.check_fits(weights, torch.bfloat16, gpus[:1], "nf4")


def test_quantizing_what_has_few_linear_layers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10e9)
    experts = memory.Weights(int(0.1e9), int(9.9e9))
    with pytest.raises(ValueError, match="nf4 cannot quantize 99 % of its weights"):
        memory.check_fits(experts, torch.bfloat16, [torch.device("cuda", 0)], "nf4")
    with pytest.raises(MemoryError) as error:
        memory.check_fits(experts, torch.bfloat16, [torch.device("cuda", 0)])
    assert "int8" not in str(error.value) and "device_map='auto'" in str(error.value)
