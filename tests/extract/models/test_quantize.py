"""Models with weights quantized to 8 or 4 bits."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultimodalLM

from calm.extract import HeadCache, Request, extract_to_cache, find_clips, load_lalm, record_heads
from calm.extract.models import memory
from tests.conftest import another_tiny, noise
from tests.extract.models.families.common import usable

needs_bitsandbytes = pytest.mark.skipif(not usable("bitsandbytes"), reason="bitsandbytes cannot be imported here")


@needs_bitsandbytes
@pytest.mark.parametrize(("quantize", "most"), [("int8", 0.05), ("nf4", 0.4)])
def test_vectors_are_near_those_of_whole_weights(quantize: str, most: float) -> None:
    lalm, whole = load_lalm("tiny", device="cpu", quantize=quantize), load_lalm("tiny", device="cpu")
    assert lalm.heads.shape == whole.heads.shape and lalm.dtype == "float32"
    waves = [noise(1.0, seed) for seed in range(3)]
    found, expected = (
        record_heads(model.model, model.heads, model.inputs(waves, [model.builder.chat("What is it?")] * 3))
        for model in (lalm, whole)
    )
    assert 1e-3 < (found - expected).norm() / expected.norm() < most
    assert lalm.model.get_memory_footprint() < 0.45 * whole.model.get_memory_footprint()


@needs_bitsandbytes
@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_the_estimate_is_near_what_they_take(quantize: str) -> None:
    model = load_lalm("tiny", device="cpu", quantize=quantize).model
    weights = memory.count_weights(AutoModelForMultimodalLM, another_tiny()[0].config)
    estimate = weights.bytes(torch.float32, quantize)
    assert abs(estimate / sum(t.nbytes for t in model.state_dict().values()) - 1) < 0.02


@needs_bitsandbytes
def test_bits_are_part_of_what_a_cache_is(tmp_path: Path) -> None:
    clips = find_clips([noise(0.5, seed) for seed in range(2)])
    report = extract_to_cache(clips, tmp_path / "h.h5", Request("tiny", quantize="nf4", device="cpu"))
    assert report.new == 2
    with HeadCache(report.path) as cache:
        assert (cache.request.quantize, cache.fingerprint.quantize) == ("nf4", "nf4")
        assert np.isfinite(cache.read(np.arange(2))).all()
    with pytest.raises(ValueError, match=r"differ in quantize \('nf4' in .*h\.h5, None in this run\)"):
        extract_to_cache(clips, tmp_path / "h.h5", Request("tiny", device="cpu"))


def test_an_unknown_quantization_or_a_missing_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="quantize must be int8 or nf4, got '2bit'"):
        load_lalm("tiny", quantize="2bit")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs bitsandbytes and accelerate: pip install 'calm-audio\[quantize\]'"):
        load_lalm("tiny", quantize="int8")


@needs_bitsandbytes
def test_what_is_drawn_by_rule_is_not_quantized() -> None:
    with pytest.raises(ValueError, match="supports neither device_map nor quantize: leave them out"):
        load_lalm("tiny-random", quantize="int8")
