"""Files of earlier formats open, or are refused with one line of advice."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calm import CALMClassifier, HeadCache, Request, draw_episode, extract_to_cache, load, predict_audio
from calm.cli import app
from calm.extract import find_clips
from tests.conftest import tone

DATA = Path(__file__).parent / "data"
CLASSIFIERS = ("version2-calm.safetensors", "version2-sav.safetensors")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    for path in DATA.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def test_a_cache_of_version_1_is_read_and_fitted_on(old: Path) -> None:
    with HeadCache(old / "version1.h5") as cache:
        assert cache.shape == (9, 6, 8, 32) and len(cache.done) == 8
        assert cache.names[0] == "high/0.wav" and cache.labels.tolist() == ["high"] * 4 + ["low"] * 5
        assert cache.failures == {"low/broken.wav": "not readable as audio: Format not recognised"}
        assert cache.request == Request("tiny")
        episode = draw_episode(cache, 3)
        assert (
            CALMClassifier().fit(episode.support, episode.support.labels).predict(episode.query) == ["high", "low"]
        ).all()


def test_a_cache_of_version_2_is_read(old: Path) -> None:
    with HeadCache(old / "version2.h5") as cache:
        assert (cache.version, cache.shape, len(cache.done)) == (2, (10, 6, 8, 32), 9)
        assert cache.labels.tolist() == ["high"] * 4 + ["low"] * 6
        assert cache.request == Request("tiny")
        assert cache.seconds[3] == 7 and np.isnan(cache.decoded_seconds).all()
        assert cache.notes == {"high/3.wav": ("cut to the first 5 s of 7.0 s",), "low/4.wav": ("digital silence",)}
        assert cache.failures == {"low/broken.wav": "not readable as audio: Format not recognised"}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_of_version_2_judges_a_cache_as_it_did(old: Path, name: str) -> None:
    classifier = load(old / name)
    with HeadCache(old / "version1.h5") as cache:
        rows = cache[cache.done]
        assert (classifier.predict(rows) == rows.labels).all()
        assert np.isfinite(classifier.predict_proba(rows)).all()
    for arguments in (["evaluate", str(old / "version1.h5"), "-c", str(old / name)], ["info", str(old / name)]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output


def test_a_cache_of_version_1_is_not_resumed(old: Path) -> None:
    clips = find_clips([tone(300)])
    for path in (old / "version1.h5", old / "version1.h5"):
        with pytest.raises(ValueError, match="extract again") as refused:
            extract_to_cache(clips, path, Request("tiny", device="cpu"), prune=True)
        assert "\n" not in str(refused.value)
    assert (old / "version1.h5").read_bytes() == (DATA / "version1.h5").read_bytes()


def test_a_classifier_with_a_partial_weight_digest_says_what_to_do(old: Path) -> None:
    with pytest.raises(ValueError, match="covers only part of the weights: extract again"):
        predict_audio(load(old / CLASSIFIERS[0]), find_clips([tone(300)]), device="cpu")
