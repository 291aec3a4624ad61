"""Loading of models: aliases, local folders, precision, and clear messages for what cannot be used."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from calm.extract import LALM, checkpoint_state, find_heads, load_lalm, record_heads, resolve_model
from calm.extract.models.tiny import random_tiny
from tests.conftest import another_tiny, noise


@pytest.fixture(scope="module")
def saved_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2-Audio checkpoint on disk, with the files of a hub repository."""
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor = another_tiny()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def vectors(lalm: LALM) -> torch.Tensor:
    return record_heads(lalm.model, lalm.heads, lalm.inputs([noise(1.0)], [lalm.builder.chat("What is this?")]))


def test_a_local_folder_loads_through_the_auto_classes_with_the_same_vectors(tiny: LALM, saved_tiny: Path) -> None:
    lalm = load_lalm(str(saved_tiny), device="cpu")
    assert type(lalm.model).__name__ == "Qwen2AudioForConditionalGeneration"
    assert lalm.weights_digest == tiny.weights_digest
    assert lalm.builder.chat("Hm?") == tiny.builder.chat("Hm?")
    torch.testing.assert_close(vectors(lalm), vectors(tiny))


@pytest.mark.parametrize(
    ("name", "digest"),
    [("tiny", "xxh3:786555f367e6c91cc889970d8ae6724b"), ("tiny-random", "xxh3:01eabdba5eca569e5dc78c8550072fd3")],
)
def test_what_is_built_in_is_the_same_everywhere(name: str, digest: str) -> None:
    # Caches store these digests: if one changes, no existing cache of the model can be resumed.
    lalm = load_lalm(name, device="cpu")
    assert lalm.weights_digest == digest
    assert lalm.heads.shape == (6, 8, 32) and lalm.builder.window_seconds == 5
    assert 4e6 < sum(p.numel() for p in lalm.model.parameters()) < 5e6


def test_building_a_random_tiny_leaves_the_callers_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    random_tiny()
    assert torch.rand(1) == expected


def test_the_model_is_frozen_and_in_evaluation_mode(tiny: LALM) -> None:
    assert not tiny.model.training
    assert not any(p.requires_grad for p in tiny.model.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_requested_dtype_is_used(saved_tiny: Path, dtype: str) -> None:
    assert load_lalm(str(saved_tiny), dtype=dtype, device="cpu").dtype == dtype


def test_one_changed_weight_matrix_changes_the_digest(tiny: LALM) -> None:
    model, processor = another_tiny()
    with torch.no_grad():
        model.get_decoder().layers[3].mlp.up_proj.weight *= 1.01
    assert LALM("changed", model, processor).weights_digest != tiny.weights_digest


@pytest.mark.parametrize(
    ("name", "near"), [("qwen2audio", "qwen2-audio"), ("Qwen2.5-Omni", "qwen2.5-omni"), ("tinny", "tiny")]
)
def test_an_unknown_alias_names_near_misses(name: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"unknown model '{name}': did you mean .*{near}"):
        load_lalm(name)


def test_hub_ids_and_folders_are_no_aliases(tmp_path: Path) -> None:
    assert resolve_model("someone/some-model") == "someone/some-model"
    assert resolve_model(str(tmp_path)) == str(tmp_path)
    with pytest.raises(ValueError, match=r"unknown model '\./nowhere'"):
        resolve_model("./nowhere")


def test_a_folder_without_a_model_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot load model") as error:
        load_lalm(str(tmp_path))
    assert "\n" not in str(error.value)


def test_weights_that_are_not_in_the_files_are_not_made_up(tmp_path: Path, saved_tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(saved_tiny, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.endswith("conv1.weight")}
    assert len(kept) == len(weights) - 1
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"its files lack 1 of the weights of Qwen2Audio.*conv1\.weight"):
        load_lalm(str(folder))


def test_a_text_model_is_refused(tmp_path: Path, saved_tiny: Path) -> None:
    config = Qwen2Config(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    Qwen2ForCausalLM(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((saved_tiny / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    with pytest.raises(
        ValueError, match="cannot load model .*transformers has no qwen2 model that takes audio and text"
    ):
        load_lalm(str(tmp_path))


def test_a_processor_that_takes_no_audio_is_refused(monkeypatch: pytest.MonkeyPatch, saved_tiny: Path) -> None:
    from transformers import AutoProcessor, AutoTokenizer

    monkeypatch.setattr(AutoProcessor, "from_pretrained", AutoTokenizer.from_pretrained)
    with pytest.raises(ValueError, match="takes no audio: .* has no feature extractor"):
        load_lalm(str(saved_tiny))


def test_a_truncated_checkpoint_gets_one_line(saved_tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved_tiny, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cannot load model") as error:
        load_lalm(str(folder))
    assert "\n" not in str(error.value)


def test_a_processor_that_needs_more_packages_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, saved_tiny: Path
) -> None:
    from transformers import AutoProcessor

    def needs_more(*_: Any, **__: Any) -> None:
        raise ImportError("\nIt requires the Torchvision library\nbut it was not found.")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", needs_more)
    with pytest.raises(
        ImportError, match=r"'calm-audio\[families\]': It requires the Torchvision library but it was not found\."
    ):
        load_lalm(str(saved_tiny))


def test_a_device_map_does_not_change_head_vectors(tiny: LALM, saved_tiny: Path) -> None:
    lalm = load_lalm(str(saved_tiny), device_map="auto", dtype="float32")
    assert lalm.weights_digest == tiny.weights_digest
    torch.testing.assert_close(vectors(lalm), vectors(tiny))


def test_a_model_that_would_be_offloaded_is_refused(saved_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import cpu_offload
    from transformers import AutoModelForMultimodalLM

    load = AutoModelForMultimodalLM.from_pretrained

    def offloaded(*args: Any, **kwargs: Any) -> Any:
        model, loading = load(*args, **kwargs)
        return cpu_offload(model), loading

    monkeypatch.setattr(AutoModelForMultimodalLM, "from_pretrained", offloaded)
    with pytest.raises(ValueError, match="does not fit into the memory of its devices"):
        load_lalm(str(saved_tiny), device_map="auto")


def test_the_state_of_a_checkpoint_folder_is_identified_without_loading_it(saved_tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved_tiny, folder)
    before = checkpoint_state(str(folder), None)
    assert checkpoint_state(str(folder), None) == before
    (folder / "model.safetensors").touch()
    assert checkpoint_state(str(folder), None) != before
    assert checkpoint_state("tiny", None).startswith("tiny ") and checkpoint_state("tiny-random", None) == "tiny-random"
    assert checkpoint_state("someone/never-downloaded", None) == ""


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="dtype must be float32, bfloat16 or float16, got 'int4'"):
        load_lalm("tiny", dtype="int4")
    with pytest.raises(ValueError, match="device 'warp' cannot be used"):
        load_lalm("tiny", device="warp")
    with pytest.raises(ValueError, match="give device or device_map, not both"):
        load_lalm("tiny", device="cpu", device_map="auto")


def test_device_map_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'calm-audio\[device-map\]'"):
        load_lalm("tiny-random", device_map="auto")


# --- search for the attention heads ---


def test_the_thinker_of_an_omni_model_is_found() -> None:
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    small = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 32}
    config = Qwen2_5OmniThinkerConfig(
        text_config=small | {"intermediate_size": 32, "vocab_size": 50},
        audio_config={"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
        vision_config={"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16},
    )
    with torch.device("meta"):
        model = Qwen2_5OmniThinkerForConditionalGeneration(config)
    assert find_heads(model).shape == (2, 4, 8)


def test_heads_are_those_of_the_text_decoder_only(tiny: LALM) -> None:
    projections = set(tiny.heads.projections)
    assert projections == {layer.self_attn.o_proj for layer in tiny.model.model.language_model.layers}
    assert not projections & set(tiny.model.model.audio_tower.modules())


def test_a_decoder_without_layers_says_what_it_holds() -> None:
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=8))
    with pytest.raises(ValueError, match=r"its decoder \(GPT2Model\) has no `layers`; it contains wte, wpe"):
        find_heads(model)


def decoder_of(*layers: nn.Module, heads: Any = 2) -> Any:
    text_config = SimpleNamespace(num_attention_heads=heads)
    return SimpleNamespace(
        get_decoder=lambda: SimpleNamespace(layers=layers),
        config=SimpleNamespace(get_text_config=lambda decoder: text_config),
    )


def layer(width: int, projection: str = "o_proj", attention: str = "self_attn") -> nn.Module:
    return nn.ModuleDict({attention: nn.ModuleDict({projection: nn.Linear(width, 8)}), "mlp": nn.Linear(8, 8)})


def test_a_layer_without_attention_says_what_was_looked_for() -> None:
    with pytest.raises(
        ValueError, match=r"decoder layer 1: no attention module .* named o_proj, .*it contains mixer \(Linear"
    ):
        find_heads(decoder_of(layer(8), nn.ModuleDict({"mixer": nn.Linear(8, 8)})))


def test_layers_may_have_heads_of_different_sizes() -> None:
    heads = find_heads(decoder_of(layer(8), layer(16)))
    assert heads.sizes == ((2, 4), (2, 8)) and heads.shape == (2, 2, 8)


def test_a_width_that_does_not_split_into_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="8 inputs does not split into 3 heads"):
        find_heads(decoder_of(layer(8), heads=3))


def test_a_config_without_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="no `num_attention_heads`"):
        find_heads(decoder_of(layer(8), heads=None))


@pytest.mark.parametrize("projection", ["o_proj", "out_proj", "dense"])
def test_the_projection_may_have_any_of_its_usual_names(projection: str) -> None:
    assert find_heads(decoder_of(layer(12, projection))).shape == (1, 2, 6)
