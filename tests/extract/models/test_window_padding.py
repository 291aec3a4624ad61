"""Removal of the silence that pads clips to the encoder's window does not change head vectors."""

from __future__ import annotations

import pytest
import torch
from transformers import WhisperFeatureExtractor

from calm.extract import LALM, record_heads
from calm.extract.models.families import FAMILIES
from calm.extract.models.window_padding import shorten_encoder_window, trim_windows
from tests.conftest import noise


@pytest.mark.parametrize("seconds", [0.1, 0.317, 1.0, 7.77, 30.0])
def test_the_spectrogram_of_a_clip_does_not_need_that_of_a_long_window(seconds: float) -> None:
    """A shortened spectrogram has the same frames of the clip as the 300 s of Qwen2.5-Omni's processor."""
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=30)
    make_kwargs = FAMILIES["qwen2_5_omni_thinker"].audio_kwargs
    assert make_kwargs is not None
    wave = noise(seconds)

    def spectrogram(**sound: int) -> tuple[torch.Tensor, int]:
        features = extractor(
            wave, sampling_rate=16000, padding="max_length", return_attention_mask=True, return_tensors="pt", **sound
        )
        return features["input_features"], int(features["attention_mask"].sum())

    (short, n_frames), (whole, expected) = spectrogram(**make_kwargs(extractor, len(wave))), spectrogram()
    assert n_frames == expected and short.shape[-1] == min(-(-(n_frames + 3) // 8) * 8, 3000)
    torch.testing.assert_close(short[..., :n_frames], whole[..., :n_frames], rtol=0, atol=0)


@pytest.mark.parametrize("seconds", [(0.1,), (0.31, 1.0), (2.0, 0.5), (4.97,), (5.0, 3.0)])
def test_vectors_are_the_same_without_it(tiny: LALM, seconds: tuple[float, ...]) -> None:
    waves = [noise(s, seed) for seed, s in enumerate(seconds)]
    whole, short = (
        tiny.builder.prepare(waves, [tiny.builder.chat("What is it?")] * len(waves), full_window=s)
        for s in (True, False)
    )
    frames = short["input_features"].shape[-1]
    assert frames <= 100 * max(seconds) + 10 and whole["input_features"].shape[-1] == 500
    found = record_heads(tiny.model_for(short), tiny.heads, short)
    expected = record_heads(tiny.model, tiny.heads, whole)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_the_cut_leaves_what_convolutions_reach_and_no_more(tiny: LALM) -> None:
    """Without the two frames after the clip, head vectors change: the margin is needed."""
    waves = [noise(0.5)]
    prepared = dict(tiny.builder.prepare(waves, [tiny.builder.chat("What is it?")]))
    expected = record_heads(tiny.model, tiny.heads, prepared)

    def cut(frames: int) -> float:
        inputs = {k: v[..., :frames] if "feature" in k else v for k, v in prepared.items()}
        found = record_heads(shorten_encoder_window(tiny.model, frames), tiny.heads, inputs)
        return float((found - expected).abs().max() / expected.abs().max())

    n_frames = int(prepared["feature_attention_mask"].sum())
    assert cut(n_frames + 2) < 1e-5 < cut(n_frames)


def test_the_model_itself_stays_as_it_is(tiny: LALM) -> None:
    before = {name: id(module) for name, module in tiny.model.named_modules()}
    state = {name: tensor.data_ptr() for name, tensor in tiny.model.state_dict().items()}
    other = shorten_encoder_window(tiny.model, 104)
    assert other is not tiny.model and other.model.language_model is tiny.model.model.language_model
    assert {name: id(module) for name, module in tiny.model.named_modules()} == before
    assert {name: tensor.data_ptr() for name, tensor in tiny.model.state_dict().items()} == state
    assert tiny.model.config.audio_config.max_source_positions == 250
    assert shorten_encoder_window(tiny.model, 500) is tiny.model


def test_no_frame_is_cut_where_a_clip_fills_the_window() -> None:
    mask = torch.ones(2, 300, dtype=torch.int32)
    trimmed = trim_windows({"input_features": torch.zeros(2, 8, 300), "input_features_mask": mask})
    assert trimmed["input_features"].shape[-1] == 300
