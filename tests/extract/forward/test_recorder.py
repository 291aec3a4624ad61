"""Head vectors equal the attention output at the last prompt tokens, for any batch, padding and precision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange, repeat
from transformers import Qwen2Config, Qwen2ForCausalLM

from calm.extract import LALM, find_heads, record_heads
from tests.conftest import noise

#: Maximum difference between a clip's vectors alone and in a batch, relative to the largest entry.
TOLERANCE = {"float32": 1e-4, "bfloat16": 6e-2, "float16": 6e-3}


def small_decoder(**changes: Any) -> Qwen2ForCausalLM:
    config = {
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "initializer_range": 0.5,
    }
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**config | changes)).eval()


def record(model: Any, tokens: int = 1, **inputs: torch.Tensor) -> torch.Tensor:
    return record_heads(model, find_heads(model), inputs, tokens=tokens)


def attention_by_hand(model: Qwen2ForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Compute the output of every head at every position, ``(layers, positions, heads, dim)``."""
    config = model.config
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    dim = model.model.layers[0].self_attn.head_dim
    length = ids.shape[1]
    hidden = model.model.embed_tokens(ids)[0]  # one prompt
    angle = torch.arange(length)[:, None] / config.rope_parameters["rope_theta"] ** (torch.arange(0, dim, 2) / dim)
    cos, sin = torch.cos(angle).repeat(1, 2), torch.sin(angle).repeat(1, 2)

    def rotate(x: torch.Tensor) -> torch.Tensor:  # (heads, positions, dim)
        left, right = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-right, left], dim=-1) * sin

    written = []
    for layer in model.model.layers:
        x, attention = layer.input_layernorm(hidden), layer.self_attn
        q = rotate(rearrange(attention.q_proj(x), "t (h d) -> h t d", h=heads))
        k = rotate(rearrange(attention.k_proj(x), "t (g d) -> g t d", g=groups))
        v = rearrange(attention.v_proj(x), "t (g d) -> g t d", g=groups)
        k, v = (repeat(z, "g t d -> (g r) t d", r=heads // groups) for z in (k, v))
        future = torch.ones(length, length).triu(1).bool()
        weights = (q @ k.transpose(1, 2) / dim**0.5).masked_fill(future, -torch.inf).softmax(dim=-1)
        out = rearrange(weights @ v, "h t d -> t h d")
        written.append(out)
        hidden = hidden + attention.o_proj(rearrange(out, "t h d -> t (h d)"))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return torch.stack(written)


DECODERS = {
    "multi-head": {},
    "grouped queries": {"num_key_value_heads": 2},
    "head dim is not hidden / heads": {"head_dim": 10},
    "both": {"head_dim": 2, "num_key_value_heads": 3},
}


@torch.no_grad()
@pytest.mark.parametrize("changes", DECODERS.values(), ids=DECODERS)
@pytest.mark.parametrize("tokens", [1, 3])
def test_recorded_vectors_are_attention_computed_by_hand(changes: dict[str, Any], tokens: int) -> None:
    model = small_decoder(**changes)
    ids = torch.randint(50, (1, 9), generator=torch.Generator().manual_seed(1))
    expected = attention_by_hand(model, ids)[:, -tokens:].mean(dim=1)
    recorded = record(model, tokens, input_ids=ids, attention_mask=torch.ones_like(ids))
    assert recorded.shape == (1, 3, 6, changes.get("head_dim", 4))
    torch.testing.assert_close(recorded[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("tokens", [1, 4])
def test_padding_on_either_side_is_never_taken_for_the_prompt(side: str, tokens: int) -> None:
    model = small_decoder(num_key_value_heads=2)
    prompts = [torch.randint(1, 50, (n,), generator=torch.Generator().manual_seed(n)) for n in (9, 5, 2)]
    ids, mask = torch.zeros(3, 9, dtype=torch.long), torch.zeros(3, 9, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        place = slice(0, len(prompt)) if side == "right" else slice(9 - len(prompt), 9)
        ids[row, place], mask[row, place] = prompt, 1
    together = record(model, tokens, input_ids=ids, attention_mask=mask)
    for row, prompt in enumerate(prompts):
        alone = record(model, tokens, input_ids=prompt[None], attention_mask=torch.ones(1, len(prompt)))
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4)


def tiny_vectors(lalm: LALM, clips: list[np.ndarray], side: str = "right") -> torch.Tensor:
    prompts = [lalm.builder.chat("What is the sound in this audio clip?")] * len(clips)
    inputs = lalm.processor(
        text=prompts, audio=clips, sampling_rate=16000, padding=True, padding_side=side, return_tensors="pt"
    )
    return record_heads(lalm.model, lalm.heads, inputs.to(lalm.model.dtype))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_clip_has_the_same_vectors_alone_in_any_batch_and_in_any_order(dtype: str) -> None:
    from calm.extract import load_lalm

    lalm = load_lalm("tiny", dtype=dtype, device="cpu")
    clips = [noise(seconds, seed) for seed, seconds in enumerate((5.0, 0.4, 2.2, 3.7, 1.0))]
    together = tiny_vectors(lalm, clips)
    scale = together.abs().max()
    tolerance = TOLERANCE[dtype] * scale
    alone = torch.cat([tiny_vectors(lalm, [clip]) for clip in clips])
    assert (together - alone).abs().max() <= tolerance
    order = [3, 1, 4, 0, 2]
    assert (tiny_vectors(lalm, [clips[i] for i in order]) - together[order]).abs().max() <= tolerance
    assert (tiny_vectors(lalm, clips, side="left") - together).abs().max() <= tolerance
    # The tolerance is far below the difference between clips.
    assert (together[0] - together[1]).abs().max() > 5 * tolerance


def test_the_pass_ends_at_the_last_attention(tiny: LALM) -> None:
    ran = []
    decoder = tiny.model.get_decoder()
    watched = {
        "language-model head": tiny.model.lm_head,
        "last projection": decoder.layers[-1].self_attn.o_proj,
        "last feed-forward": decoder.layers[-1].mlp,
        "first feed-forward": decoder.layers[0].mlp,
    }
    hooks = [m.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, m in watched.items()]
    tiny_vectors(tiny, [noise(1.0)])
    for hook in hooks:
        hook.remove()
    assert ran == ["first feed-forward"]


def test_hooks_are_gone_afterwards_even_when_the_pass_fails(tiny: LALM) -> None:
    mask = torch.ones(1, 3)
    for inputs in ({"attention_mask": mask}, {"attention_mask": mask, "nonsense": 1}):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            record_heads(tiny.model, tiny.heads, inputs)
        assert not any(projection._forward_pre_hooks for projection in tiny.heads.projections)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(tiny.heads.lock.acquire, timeout=5).result()
            another.submit(tiny.heads.lock.release).result()


def test_threads_sharing_a_model_do_not_mix_their_vectors(tiny: LALM) -> None:
    clips = [noise(0.3 + 0.2 * i, seed=i) for i in range(12)]
    expected = [tiny_vectors(tiny, [clip]) for clip in clips]
    inputs = tiny.inputs([noise(1.0)], [tiny.builder.chat("What?")])
    with ThreadPoolExecutor(4) as pool, torch.inference_mode():
        meanwhile = [pool.submit(lambda: tiny.model(**inputs).logits) for _ in range(4)]
        recorded = list(pool.map(lambda clip: tiny_vectors(tiny, [clip]), clips))
        assert all(torch.isfinite(future.result()).all() for future in meanwhile)
    for one, other in zip(recorded, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_the_model_answers_as_before_once_the_recorder_is_gone(tiny: LALM) -> None:
    inputs = tiny.inputs([noise(1.0)], [tiny.builder.chat("What?")])
    with torch.inference_mode():
        before = tiny.model(**inputs).logits
    tiny_vectors(tiny, [noise(2.0)])
    with torch.inference_mode():
        torch.testing.assert_close(tiny.model(**inputs).logits, before)


def test_a_mask_that_does_not_fit_the_sequence_is_refused() -> None:
    model = small_decoder()
    ids = torch.ones(1, 5, dtype=torch.long)

    class Expands(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, **_: Any) -> None:
            model(input_ids=torch.cat([input_ids, input_ids], dim=1))

    with pytest.raises(RuntimeError, match="does not match the attention mask"):
        record_heads(Expands(), find_heads(model), {"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def test_a_model_that_skips_a_layer_is_refused() -> None:
    model = small_decoder()
    ids = torch.ones(1, 5, dtype=torch.long)
    heads = find_heads(model)
    model.model.layers = model.model.layers[:2]
    with pytest.raises(RuntimeError, match=r"did not run the attention .* \[2\]"):
        record_heads(model, heads, {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
