"""Every family of large audio-language models in transformers gives the same head vectors as a plain forward pass."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange, repeat
from torch.nn.functional import pad

from calm import SAVClassifier, load
from calm.extract import (
    LALM,
    HeadCache,
    Request,
    answer_log_likelihoods,
    collect_results,
    extract_to_cache,
    find_clips,
    head_vectors,
    load_lalm,
    record_heads,
)
from tests.conftest import noise
from tests.extract.models.families import CASES, Case
from tests.extract.models.families.common import usable

QUESTION = "What is the sound in this audio clip?"
#: Clip lengths in seconds. Some are multiples of an encoder's frame length, and two are equal.
LENGTHS = (1.0, 0.3, 1.7, 0.8, 1.7, 0.96, 1.76)


@pytest.fixture(scope="module", params=CASES)
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Case, Any, LALM]]:
    case = CASES[request.param]
    for package in case.needs:
        if not usable(package):
            pytest.skip(f"{package} cannot be imported here")
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(2)
    shape = importlib.import_module(f"tests.extract.models.families.{case.module}").build(folder)
    yield case, shape, load_lalm(str(folder), device="cpu")


def clips(lalm: LALM) -> list[np.ndarray]:
    return [noise(seconds, seed, lalm.builder.sampling_rate) for seed, seconds in enumerate(LENGTHS)]


def whole_pass(lalm: LALM, wave: np.ndarray, text: str = QUESTION) -> torch.Tensor:
    """Run a whole forward pass for one clip; return the input of every output projection at the last position."""
    inputs = lalm.inputs([wave], [lalm.builder.chat(text)])
    kept: list[torch.Tensor] = []
    hooks = [p.register_forward_pre_hook(lambda _, args: kept.append(args[0][0, -1])) for p in lalm.heads.projections]
    with torch.no_grad():
        lalm.model(**inputs)
    for hook in hooks:
        hook.remove()
    _, most_heads, most_dims = lalm.heads.shape
    return torch.stack(
        [
            pad(rearrange(x, "(h d) -> h d", h=heads), (0, most_dims - dim, 0, most_heads - heads))
            for x, (heads, dim) in zip(kept, lalm.heads.sizes, strict=True)
        ]
    )


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def test_its_heads_window_and_rate_are_found(family: tuple[Case, Any, LALM]) -> None:
    case, shape, lalm = family
    assert CASES[lalm.model.config.model_type] is case
    assert lalm.heads.shape == shape
    assert (lalm.builder.window_seconds, lalm.builder.sampling_rate) == (case.window_seconds, case.sampling_rate)


def test_vectors_of_a_clip_do_not_depend_on_its_batch(family: tuple[Case, Any, LALM]) -> None:
    _, _, lalm = family
    waves = clips(lalm)
    texts = [QUESTION if i % 3 else "Hm?" for i in range(len(waves))]
    gathered = collect_results(head_vectors(lalm, find_clips(waves), texts, batch_size=len(waves)))
    assert gathered.values is not None and not gathered.failures
    found = torch.from_numpy(gathered.values)
    expected = torch.stack([whole_pass(lalm, wave, text) for wave, text in zip(waves, texts, strict=True)])
    assert distance(found, expected) < 1e-4
    assert (found[2] - found[4]).abs().max() > 30 * (found - expected).abs().max()  # two clips of equal length


def test_padding_on_the_left_changes_nothing(family: tuple[Case, Any, LALM]) -> None:
    _, _, lalm = family
    waves = clips(lalm)
    for part in lalm.builder.split_by_length(waves):
        chats = [lalm.builder.chat("Hm?" if i % 2 else QUESTION) for i in range(len(part))]
        sides = [
            record_heads(lalm.model, lalm.heads, lalm.inputs([waves[i] for i in part], chats, padding_side=side))
            for side in ("left", "right")
        ]
        assert distance(*sides) < 1e-4


def test_the_recorded_position_is_the_end_of_the_prompt(family: tuple[Case, Any, LALM]) -> None:
    _, _, lalm = family
    chat = lalm.builder.chat(QUESTION)
    assert QUESTION in chat
    inputs = lalm.inputs([clips(lalm)[0]], [chat])
    assert bool(inputs["attention_mask"].all())
    end = lalm.processor.tokenizer.decode(inputs["input_ids"][0, -4:])
    assert chat.endswith(end) or chat.rstrip().endswith(end.strip())


def test_one_layer_is_attention_computed_by_hand(family: tuple[Case, Any, LALM]) -> None:
    case, _, lalm = family
    if not case.plain_attention:
        pytest.skip("latent, convolved or position-scaled attention: too much to do by hand")
    attention = next(
        child for child in lalm.model.get_decoder().modules() if lalm.heads.projections[0] in list(child.children())
    )
    seen: dict[str, Any] = {}

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.update(kwargs, hidden_states=args[0] if args else kwargs["hidden_states"])
        if len(args) > 1 and isinstance(args[1], tuple):
            seen["position_embeddings"] = args[1]

    wave = clips(lalm)[2]
    with attention.register_forward_pre_hook(note, with_kwargs=True):
        recorded = record_heads(lalm.model, lalm.heads, lalm.inputs([wave], [lalm.builder.chat(QUESTION)]))[0, 0]
    heads, dim = lalm.heads.sizes[0]
    by_hand = attention_by_hand(attention, seen["hidden_states"], seen.get("position_embeddings"), heads, dim)
    assert distance(recorded[:heads, :dim], by_hand[-1]) < 1e-4


@torch.no_grad()
def attention_by_hand(module: Any, x: torch.Tensor, rotary: Any, heads: int, dim: int) -> torch.Tensor:
    """Compute the output of every head at every position of one clip, ``(positions, heads, dim)``."""
    if hasattr(module, "qkv_proj"):
        groups = (module.qkv_proj.out_features // dim - heads) // 2
        q, k, v = module.qkv_proj(x[0]).split([heads * dim, groups * dim, groups * dim], dim=-1)
    else:
        q, k, v = (getattr(module, name)(x[0]) for name in ("q_proj", "k_proj", "v_proj"))
    q, k, v = (rearrange(z, "t (h d) -> h t d", d=dim) for z in (q, k, v))
    q, k, v = (
        getattr(module, norm)(z) if getattr(module, norm, None) is not None else z
        for norm, z in (("q_norm", q), ("k_norm", k), ("v_norm", v))
    )
    if rotary is not None:
        cos, sin = (z[0, 0] if z.ndim == 4 else z[0] for z in rotary)  # without video, M-RoPE's axes are equal

        def rotate(z: torch.Tensor) -> torch.Tensor:
            turned, rest = z[..., : cos.shape[-1]], z[..., cos.shape[-1] :]
            left, right = turned.chunk(2, dim=-1)
            return torch.cat([turned * cos + torch.cat([-right, left], dim=-1) * sin, rest], dim=-1)

        q, k = rotate(q), rotate(k)
    k, v = (repeat(z, "g t d -> (g r) t d", r=heads // len(z)) for z in (k, v))
    place = torch.arange(q.shape[1])
    hidden = place[:, None] < place
    if getattr(module, "sliding_window", None):
        hidden |= place[:, None] - place >= module.sliding_window
    scale = getattr(module, "scaling", None) or dim**-0.5
    weights = (q @ k.transpose(1, 2) * scale).masked_fill(hidden, -torch.inf).softmax(dim=-1)
    return rearrange(weights @ v, "h t d -> t h d")


def test_answer_likelihoods_equal_those_of_a_full_pass(family: tuple[Case, Any, LALM]) -> None:
    _, _, lalm = family
    answers = ("dog barking", "rain")
    waves = clips(lalm)
    part = max(lalm.builder.split_by_length(waves), key=len)
    chats = [lalm.builder.chat("Hm?" if i % 2 else QUESTION) for i in part]
    inputs = lalm.inputs([waves[i] for i in part], chats, padding_side="left")
    found = answer_log_likelihoods(lalm, inputs, answers)
    for i, chat in zip(part, chats, strict=True):
        for a, answer in enumerate(answers):
            tokens = lalm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
            alone = dict(lalm.inputs([waves[i]], [chat]))
            prompt = alone["input_ids"].shape[1]
            for name in [name for name, value in alone.items() if getattr(value, "shape", None) == (1, prompt)]:
                after = torch.tensor([tokens]) if name == "input_ids" else alone[name][:, -1:].expand(1, len(tokens))
                alone[name] = torch.cat([alone[name], after], dim=1)
            with torch.no_grad():
                logits = lalm.model(**alone).logits[0, -len(tokens) - 1 : -1].log_softmax(dim=-1)
            expected = logits[torch.arange(len(tokens)), torch.tensor(tokens)].mean()
            assert abs(float(found[part.index(i), a] - expected)) < 1e-4


REFUSED = {
    "voxtral_realtime": "it takes no prompt: it only transcribes streaming audio",
    "kyutai_speech_to_text": "it takes no prompt: it only transcribes streaming audio",
    "granite_speech5": "transformers has no granite_speech5_ctc model that takes audio and text",
}


@pytest.mark.parametrize(("module", "reason"), REFUSED.items(), ids=REFUSED)
def test_models_without_a_prompt_are_refused_before_they_are_loaded(module: str, reason: str, tmp_path: Path) -> None:
    if module == "granite_speech5" and not usable("torchaudio"):
        pytest.skip("torchaudio cannot be imported here")
    importlib.import_module(f"tests.extract.models.families.{module}").build(tmp_path)
    with pytest.raises(ValueError, match=f"cannot load model .*{reason}"):
        load_lalm(str(tmp_path))


def test_heads_of_a_hybrid_are_called_by_the_decoders_own_layers(tmp_path: Path) -> None:
    importlib.import_module("tests.extract.models.families.nemo_speechlm").build(tmp_path / "model")
    clips = find_clips([noise(0.5, seed) for seed in range(4)], labels=["a", "b", "a", "b"])
    extract_to_cache(clips, tmp_path / "h.h5", Request(str(tmp_path / "model"), device="cpu"))
    with HeadCache(tmp_path / "h.h5") as cache:
        assert (cache.shape[1], cache.fingerprint.layers) == (2, "2 5")
        rows = cache[cache.done]
        SAVClassifier().fit(rows, rows.labels).save(tmp_path / "s.safetensors")
    names = load(tmp_path / "s.safetensors").head_names_.tolist()
    assert names == [f"layer {layer} · head {head}" for layer in (2, 5) for head in range(4)]
