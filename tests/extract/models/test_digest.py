"""Two models with any difference in their weights have different digests."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.extract import LALM, HeadCache, Request, extract_to_cache, find_clips
from calm.extract.models.digest import weights_digest
from tests.conftest import another_tiny, noise


def head_switched_off(layer: int, head: int) -> LALM:
    """Return ``tiny`` with one head disabled."""
    model, processor = another_tiny()
    with torch.no_grad():
        model.get_decoder().layers[layer].self_attn.o_proj.weight[:, 32 * head : 32 * (head + 1)] = 0
    return LALM("tiny", model, processor)


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (2, 1), (5, 7)])
def test_a_disabled_head_changes_the_digest(tiny: LALM, layer: int, head: int) -> None:
    assert head_switched_off(layer, head).weights_digest != tiny.weights_digest


def test_a_cache_is_not_resumed_once_a_head_is_disabled(tiny: LALM, tmp_path: Path) -> None:
    clips = find_clips([noise(0.5, seed) for seed in range(4)])
    extract_to_cache(clips[:2], tmp_path / "heads.h5", Request("tiny"), lalm=tiny)
    with pytest.raises(ValueError, match="they differ in weights"):
        extract_to_cache(clips, tmp_path / "heads.h5", Request("tiny"), lalm=head_switched_off(2, 1))
    with HeadCache(tmp_path / "heads.h5") as cache:
        assert len(cache) == 2


class Weights(torch.nn.Module):
    """Weights of several shapes, including an empty one."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for name, shape in {"matrix": (16, 64), "bias": (7,), "number": (), "none": (0, 3)}.items():
            tensor = torch.randn(shape, generator=generator).to(dtype)
            self.register_buffer(name, tensor)
        self.register_buffer("turned", torch.randn((8, 4), generator=generator).to(dtype).T)


@given(dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), data=st.data())
@settings(deadline=None)
def test_any_number_that_changes_changes_the_digest(dtype: torch.dtype, data: st.DataObject) -> None:
    weights = Weights(dtype)
    before = weights_digest(weights)
    name = data.draw(st.sampled_from(["matrix", "bias", "number", "turned"]))
    tensor = weights.get_buffer(name)
    at = data.draw(st.integers(0, tensor.numel() - 1))
    changed = tensor.clone().reshape(-1)
    changed[at] += 1
    weights.register_buffer(name, changed.reshape(tensor.shape))
    assert weights_digest(weights) != before
    weights.register_buffer(name, tensor)
    assert weights_digest(weights) == before


def test_the_digest_does_not_depend_on_how_much_is_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Weights(torch.bfloat16)
    whole = weights_digest(weights)
    monkeypatch.setattr("calm.extract.models.digest._CHUNK_ELEMENTS", 5)
    assert weights_digest(weights) == whole


def test_a_cache_with_a_partial_digest_is_read_but_not_resumed(tiny: LALM, tmp_path: Path) -> None:
    """Early caches of version 0.1.0 have a digest of a part of the weights only."""
    clips = find_clips([noise(0.5, seed) for seed in range(3)])
    path = tmp_path / "heads.h5"
    extract_to_cache(clips[:2], path, Request("tiny"), lalm=tiny)
    with h5py.File(path, "r+") as file:
        file.attrs["weights"] = "63de38ed171aaac2"
    with HeadCache(path) as cache:
        assert cache.read(cache.done).shape == (2, 48, 32)
    with pytest.raises(ValueError, match=r"of an earlier calm, covers only part of the weights: extract again$"):
        extract_to_cache(clips, path, Request("tiny"), lalm=tiny)
