"""Clips with sound and video in models that take both."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from numpy.typing import NDArray

from calm import CALMClassifier, load, predict_audio, zero_shot
from calm.extract import (
    LALM,
    Clip,
    HeadCache,
    MediaOptions,
    Request,
    answer_log_likelihoods,
    collect_results,
    decode_clip,
    extract_to_cache,
    find_clips,
    head_vectors,
    load_lalm,
    record_heads,
)
from tests.conftest import noise
from tests.extract.media.videos import RATE, write_video
from tests.extract.models.families.common import usable

QUESTION = "What is it?"
BOTH, VISUAL = (MediaOptions(modality, 4.0, 32 * 32) for modality in ("audio-visual", "visual"))
SOUND = MediaOptions("audio")
#: Frames, height, width, seconds of sound; at 4 frames a second.
SIZES = ((4, 16, 16, 1.0), (8, 16, 24, 2.0), (6, 24, 16, 1.5), (7, 48, 64, 1.9), (4, 16, 16, 1.0))


def make_clip(number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    n_frames, height, width, seconds = SIZES[number]
    frames = np.random.default_rng(number).integers(0, 255, (n_frames, height, width, 3), dtype=np.uint8)
    return frames, noise(seconds, number, RATE)


@pytest.fixture(scope="module", params=["qwen2_5_omni", "qwen3_omni_moe"])
def lalm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LALM]:
    if not usable("torchvision"):
        pytest.skip("torchvision cannot be imported here")
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(2)
    importlib.import_module(f"tests.extract.models.families.{request.param}").build(folder)
    yield load_lalm(str(folder), device="cpu")


@pytest.fixture(scope="module")
def video_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("videos")
    return find_clips(
        [write_video(folder / f"{i}.mkv", make_clip(i)[0], 4, make_clip(i)[1]) for i in range(len(SIZES))]
    )


def vectors(lalm: LALM, clips: list[Clip], media_options: MediaOptions, batch_size: int | None = None) -> torch.Tensor:
    found = collect_results(
        head_vectors(lalm, clips, [QUESTION] * len(clips), media_options=media_options, batch_size=batch_size)
    )
    assert found.values is not None and not found.failures
    return torch.from_numpy(found.values)


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def as_published(lalm: LALM, media_options: MediaOptions, number: int) -> torch.Tensor:
    """Compute reference vectors with transformers alone: its processor, and one full forward pass of the model."""
    frames, wave = make_clip(number)
    item = {"type": "video" if media_options.uses_video else "audio"}
    chat = lalm.processor.apply_chat_template(
        [{"role": "user", "content": [item, {"type": "text", "text": QUESTION}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    kwargs: dict = {"text": [chat], "return_tensors": "pt"}
    if media_options.uses_video:
        size = {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}
        kwargs |= {"videos": [frames], "videos_kwargs": {"fps": 4.0, "size": size, "cap_pixels_per_frame": False}}
    if media_options.uses_audio:
        kwargs |= {"audio": [np.round(wave * 32767) / 32768], "sampling_rate": RATE}
    both = media_options.uses_video and media_options.uses_audio
    inputs = lalm.processor(
        **kwargs, **({"load_audio_from_video": True, "audio_from_video_indices": [0]} if both else {})
    )
    kept: list[torch.Tensor] = []
    hooks = [p.register_forward_pre_hook(lambda _, args: kept.append(args[0][0, -1])) for p in lalm.heads.projections]
    with torch.no_grad():
        lalm.model(**inputs, **({"use_audio_in_video": True} if both else {}))
    for hook in hooks:
        hook.remove()
    return rearrange(torch.stack(kept), "l (h d) -> l h d", h=lalm.heads.shape[1])


@pytest.mark.parametrize("media_options", [BOTH, VISUAL, SOUND], ids=lambda media_options: media_options.modality)
def test_vectors_of_a_video_equal_those_of_transformers_alone(
    lalm: LALM, video_clips: list[Clip], media_options: MediaOptions
) -> None:
    found = vectors(lalm, video_clips[:3], media_options)  # frames within max_pixels: only the processor resizes them
    assert distance(found, torch.stack([as_published(lalm, media_options, i) for i in range(3)])) < 1e-4


@pytest.mark.parametrize("media_options", [BOTH, VISUAL], ids=lambda media_options: media_options.modality)
def test_vectors_of_a_video_do_not_depend_on_its_batch(
    lalm: LALM, video_clips: list[Clip], media_options: MediaOptions
) -> None:
    together, alone = vectors(lalm, video_clips, media_options, 5), vectors(lalm, video_clips, media_options, 1)
    assert distance(together, alone) < 1e-5
    chats = [lalm.builder.chat(QUESTION, media_options)] * len(video_clips)
    decoded_clips = [decode_clip(clip, media_options, RATE) for clip in video_clips]
    padded = lalm.inputs(decoded_clips, chats, media_options=media_options, padding_side="left")
    assert distance(record_heads(lalm.model, lalm.heads, padded), alone) < 1e-5


def test_each_modality_uses_only_its_own_part_of_a_video(lalm: LALM, video_clips: list[Clip], tmp_path: Path) -> None:
    frames, wave = make_clip(0)
    recoloured = write_video(tmp_path / "recoloured.mkv", 255 - frames, 4, wave)
    dubbed = write_video(tmp_path / "dubbed.mkv", frames, 4, noise(1.0, 99, RATE))
    clips = [video_clips[0], *find_clips([recoloured, dubbed])]
    moved = {}
    for media_options in (BOTH, VISUAL, SOUND):
        original, other_frames, other_sound = vectors(lalm, clips, media_options, 1)
        moved[media_options.modality] = [distance(other, original) > 1e-3 for other in (other_frames, other_sound)]
        assert all(d > 1e-3 or d == 0 for d in (distance(other_frames, original), distance(other_sound, original)))
    assert moved == {"audio-visual": [True, True], "visual": [True, False], "audio": [False, True]}


def test_sound_and_frames_may_come_from_two_files(lalm: LALM, video_clips: list[Clip], tmp_path: Path) -> None:
    frames, wave = make_clip(1)
    mute = write_video(tmp_path / "mute.mkv", frames, 4)
    sound = write_video(tmp_path / "sound.mka", None, wave=wave)
    pairs = [Clip(sound, "files", video=mute), Clip(np.round(wave * 32767) / 32768, "arrays", video=(frames, 4.0))]
    assert distance(vectors(lalm, pairs, BOTH), vectors(lalm, [video_clips[1]] * 2, BOTH)) < 1e-4


def test_extraction_and_prediction_from_videos(lalm: LALM, tmp_path: Path) -> None:
    for kind, grey in (("dark", 20), ("bright", 220)):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(4):
            drawn = np.random.default_rng(i).integers(-20, 20, (4, 16, 16, 3)) + grey
            write_video(tmp_path / "data" / kind / f"{i}.mkv", drawn.astype(np.uint8), 4, noise(1.0, i, RATE))
    (tmp_path / "data" / "dark" / "mute.mkv").write_bytes(
        write_video(tmp_path / "mute.mkv", make_clip(0)[0], 4).read_bytes()
    )
    request = Request(lalm.name, modality="audio-visual", fps=4.0, max_pixels=1024)
    clips = find_clips(tmp_path / "data")
    report = extract_to_cache(clips, tmp_path / "h.h5", request, lalm=lalm)
    assert report.failures == {"dark/mute.mkv": "it has no audio stream"}
    with HeadCache(tmp_path / "h.h5") as cache:
        assert cache.prompts.tolist() == ["What is seen and heard in this video?"]
        made_so = cache.fingerprint
        assert (made_so.modality, made_so.fps, made_so.max_pixels) == ("audio-visual", 4.0, 1024)
        rows = cache[cache.done]
        CALMClassifier().fit(rows, rows.labels).save(tmp_path / "c.safetensors")
    readable = [clip for clip in clips if clip.name != "dark/mute.mkv"]
    prediction = predict_audio(load(tmp_path / "c.safetensors"), readable, lalm=lalm)
    assert prediction.labels.tolist() == [clip.label for clip in readable]
    with pytest.raises(ValueError, match=r"differ in fps \(4\.0 in .*h\.h5, 2\.0 in this run\)"):
        extract_to_cache(clips, tmp_path / "h.h5", Request(lalm.name, modality="audio-visual", max_pixels=1024))
    seen = extract_to_cache(clips, tmp_path / "v.h5", Request(lalm.name, modality="visual", fps=4.0), lalm=lalm)
    assert (seen.failures, seen.done, seen.silent) == ({}, 9, 0)


def test_the_example_compares_the_modalities(
    lalm: LALM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the video separates the classes here; the sound is the same in both."""
    for kind, grey in (("dark", 20), ("bright", 220)):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for i in range(8):
            drawn = np.random.default_rng(i).integers(-20, 20, (4, 16, 16, 3)) + grey
            write_video(tmp_path / "data" / kind / f"{i}.mkv", drawn.astype(np.uint8), 4, noise(0.5, i, RATE))
    example = Path(__file__).resolve().parents[2] / "examples" / "audio_visual.py"
    arguments = [str(tmp_path / "data"), "--model", lalm.name, "--shots", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [str(example), *arguments])
    runpy.run_path(str(example), run_name="__main__")
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in capsys.readouterr().out.splitlines()}
    accuracy = {name: float(rows[name][0].split(" ")[0]) for name in ("audio", "visual", "audio-visual")}
    assert accuracy["audio"] < 80 < accuracy["visual"]


def test_answer_likelihoods_of_a_video_equal_those_of_a_full_pass(lalm: LALM, video_clips: list[Clip]) -> None:
    answers = ("dog barking", "rain")
    decoded_clips = [decode_clip(clip, BOTH, RATE) for clip in video_clips[:3]]
    chat = lalm.builder.chat(QUESTION, BOTH)
    inputs = lalm.inputs(decoded_clips, [chat] * 3, media_options=BOTH, padding_side="left")
    found = answer_log_likelihoods(lalm, inputs, answers)
    for i, decoded in enumerate(decoded_clips):
        for a, answer in enumerate(answers):
            alone = dict(lalm.inputs([decoded], [chat], media_options=BOTH))
            tokens = torch.tensor([lalm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]])
            alone["input_ids"] = torch.cat([alone["input_ids"], tokens], dim=1)
            alone["attention_mask"] = torch.ones_like(alone["input_ids"])
            with torch.no_grad():
                logits = lalm.model(**alone).logits[0, -tokens.shape[1] - 1 : -1].log_softmax(dim=-1)
            assert abs(float(found[i, a] - logits.gather(1, tokens[0][:, None]).mean())) < 1e-4


def test_zero_shot_classifies_videos(lalm: LALM, video_clips: list[Clip]) -> None:
    found = zero_shot(lalm, video_clips, ["rain", "dog"], modality="visual", fps=4.0, max_pixels=1024)
    assert found.failures == {} and found.scores.shape == (5, 2)
    assert len(np.unique(found.scores[:, 0])) == 5
