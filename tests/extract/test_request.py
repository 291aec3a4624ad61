"""A request is what is asked for, whole: it is stored, read back, and held against the model that is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calm.extract import LALM, Placement, Prompt, Request, Senses, extract_to_cache, find_clips, fingerprint_of
from tests.conftest import noise

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), min_size=1, max_size=20)
pictures = st.builds(Senses, st.just("audio-visual"), st.floats(0.1, 60), st.integers(784, 10**6))
requests = st.builds(
    Request,
    model=text,
    prompt=st.builds(Prompt, template=text.map(lambda t: t + "{question}"), question=st.none() | text),
    senses=st.just(Senses()) | pictures,
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
    senses = Senses("visual", fps=4.0)
    prompt, place = Prompt(question="Hm?"), Placement("cpu")
    expected = Request("m", prompt=prompt, senses=senses, tokens=2, dtype="float16", placement=place)
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
        ({"model": "qwen2-audio"}, "asks for model 'qwen2-audio', and the model that is loaded has 'tiny'"),
        ({"quantize": "nf4"}, "asks for quantize 'nf4', and the model that is loaded has ''"),
        ({"dtype": "bfloat16"}, "asks for dtype 'bfloat16', and the model that is loaded has 'float32'"),
        ({"revision": "v2"}, "asks for revision 'v2', and the model that is loaded has None"),
    ],
    ids=str,
)
def test_a_loaded_model_that_is_not_the_one_asked_for_is_refused(
    tiny: LALM, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    request = Request(**{"model": "tiny", **changes})
    with pytest.raises(ValueError, match=message):
        extract_to_cache(find_clips([noise(0.5)]), tmp_path / "heads.h5", request, lalm=tiny)
    assert list(tmp_path.iterdir()) == []


def test_what_is_recorded_is_what_the_model_was_loaded_with(tiny: LALM) -> None:
    assert Request("tiny", device="cpu").load().weights_digest == tiny.weights_digest
    assert fingerprint_of(tiny, Request("tiny", dtype="float32")).dtype == "float32"
    assert np.isfinite(fingerprint_of(tiny, Request("tiny")).max_seconds)
