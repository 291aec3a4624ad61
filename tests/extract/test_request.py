"""Requests are stored, read back and compared with the loaded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.extract import (
    LALM,
    MediaOptions,
    Placement,
    Prompt,
    Request,
    compute_fingerprint,
    extract_to_cache,
    find_clips,
)
from calm.extract.prompt import QUESTIONS
from tests.conftest import noise

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), min_size=1, max_size=20)
video_options = st.builds(MediaOptions, st.just("audio-visual"), st.floats(0.1, 60), st.integers(784, 10**6))
requests = st.builds(
    Request,
    model=text,
    prompt=st.builds(Prompt, template=text.map(lambda t: t + "{question}"), question=st.none() | text),
    media_options=st.just(MediaOptions()) | video_options,
    tokens=st.integers(1, 99),
    max_seconds=st.none() | st.floats(0.1, 1e6),
    revision=st.none() | text,
    dtype=st.sampled_from([None, "float32", "bfloat16"]),
    quantize=st.sampled_from([None, "int8", "nf4"]),
    placement=st.builds(Placement, device=st.sampled_from([None, "cpu"]), trust_remote_code=st.booleans()),
)


@given(requests)
@settings(deadline=None)
def test_a_request_is_stored_and_read_back_without_its_placement(request: Request) -> None:
    again = Request.from_json(request.to_json())
    assert again == request
    assert again.placement == Placement()
    assert "trust_remote_code" not in request.to_json() and "device" not in request.options
    assert Request(**request.options) == request and request.changed() == request


def test_options_are_taken_side_by_side() -> None:
    request = Request("m", question="Hm?", modality="visual", fps=4.0, tokens=2, device="cpu", dtype="float16")
    media_options = MediaOptions("visual", fps=4.0)
    prompt, place = Prompt(question="Hm?"), Placement("cpu")
    expected = Request("m", prompt=prompt, media_options=media_options, tokens=2, dtype="float16", placement=place)
    assert request == expected and request.placement == expected.placement
    with pytest.raises(TypeError, match="Request has no option colour"):
        Request("m", colour="red")


def test_a_request_of_an_earlier_calm_is_read() -> None:
    stored = '{"model": "tiny", "revision": null, "dtype": null, "template": "{question}", "question": "Hm?"'
    stored += ', "tokens": 1, "max_seconds": null}'
    assert Request.from_json(stored) == Request("tiny", question="Hm?")


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "[]",
        "{}",
        '{"model": 3}',
        '{"model": "m", "tokens": "1"}',
        '{"model": "m", "trust_remote_code": true}',
        '{"model": "m", "device": "cuda"}',
        '{"model": "m", "modality": "smell"}',
        '{"model": "m", "template": "{colour}"}',
        "[" * 100_000,
        b'\xff{"model": "m"}',
    ],
    ids=lambda stored: str(stored)[:30],
)
def test_what_is_no_request_is_refused_in_one_line(stored: Any) -> None:
    with pytest.raises(ValueError) as refused:
        Request.from_json(stored)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "qwen2-audio"}, "asks for model 'qwen2-audio', but the loaded model has 'tiny'"),
        ({"quantize": "nf4"}, "asks for quantize 'nf4', but the loaded model has ''"),
        ({"dtype": "bfloat16"}, "asks for dtype 'bfloat16', but the loaded model has 'float32'"),
        ({"revision": "v2"}, "asks for revision 'v2', but the loaded model has None"),
    ],
    ids=str,
)
def test_a_loaded_model_other_than_the_requested_one_is_refused(
    tiny: LALM, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    request = Request(**{"model": "tiny", **changes})
    with pytest.raises(ValueError, match=message):
        extract_to_cache(find_clips([noise(0.5)]), tmp_path / "heads.h5", request, lalm=tiny)
    assert list(tmp_path.iterdir()) == []


def test_what_is_recorded_is_what_the_model_was_loaded_with(tiny: LALM) -> None:
    assert Request("tiny", device="cpu").load().weights_digest == tiny.weights_digest
    assert compute_fingerprint(tiny, Request("tiny", dtype="float32")).dtype == "float32"
    assert np.isfinite(compute_fingerprint(tiny, Request("tiny")).max_seconds)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_seconds": -1}, ValueError, "max_seconds must be at least 0.1, got -1"),
        ({"max_seconds": "5"}, TypeError, "max_seconds must be float, got '5'"),
        ({"tokens": 0}, ValueError, "tokens must be at least 1, got 0"),
        ({"tokens": 10**20}, ValueError, "tokens must be at most 1000000"),
        ({"tokens": True}, TypeError, "tokens must be int, got True"),
        ({"dtype": "float8"}, ValueError, "dtype must be float32, bfloat16 or float16, got 'float8'"),
        ({"quantize": "int2"}, ValueError, "quantize must be int8 or nf4, got 'int2'"),
        ({"prompt": "What?"}, TypeError, "prompt must be a Prompt, got 'What\\?'"),
        ({"prompt": Prompt(), "question": "Hm?"}, TypeError, "give either prompt or question, not both"),
        ({"template": "{question:>100000000}"}, ValueError, "take no format"),
        ({"template": "{question!r}"}, ValueError, "take no format"),
        ({"template": "{question:{x}}"}, ValueError, "take no format"),
        ({"trust_remote_code": "yes"}, TypeError, "trust_remote_code must be bool, got 'yes'"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_at_once(options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Request("tiny", **options)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": 0}, {"storage": "int8"}, {"strict": 1}], ids=str)
def test_a_run_that_cannot_be_leaves_no_file(tiny: LALM, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        extract_to_cache(find_clips([noise(0.5)]), tmp_path / "heads.h5", Request("tiny"), lalm=tiny, **options)
    assert list(tmp_path.iterdir()) == []


def test_derived_options_are_derived_again_when_others_change() -> None:
    request = Request("m").changed(modality="audio-visual")
    assert request == Request("m", modality="audio-visual") and request.prompt.question == QUESTIONS["audio-visual"]
    assert request.changed(modality="audio") == Request("m")
    stored = Request.from_json(request.to_json())
    assert stored.changed(modality="audio") == Request("m")
    assert Request("m", max_seconds=1e308) == Request("m")
    own = Request("m", question="Hm?", fps=3.0, modality="visual").changed(tokens=2)
    assert own == Request("m", question="Hm?", fps=3.0, modality="visual", tokens=2)
