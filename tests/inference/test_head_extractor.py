"""HeadExtractor as a scikit-learn transformer: rates, clips that fail, feature names."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from calm import CALMClassifier, HeadExtractor, find_clips
from tests.conftest import noise, tone


def extractor(**options: Any) -> HeadExtractor:
    return HeadExtractor("tiny", device="cpu", **options)


def test_a_sampling_rate_makes_arrays_equal_to_files(tmp_path: Path) -> None:
    wave = tone(440, 1.0, rate=44100)
    soundfile.write(tmp_path / "a.wav", wave, 44100, subtype="FLOAT")
    entries: list[Any] = [tmp_path / "a.wav", wave, (wave, 44100), *find_clips([wave])]
    X = extractor(sampling_rate=44100).transform(entries)
    for row in X[1:]:
        np.testing.assert_allclose(row, X[0], atol=1e-4)
    assert not np.allclose(extractor(sampling_rate=16000).transform([wave])[0], X[0], atol=1e-2)


def test_sampling_rate_and_on_error_are_parameters() -> None:
    copy = clone(extractor(sampling_rate=8000, on_error="skip"))
    assert (copy.sampling_rate, copy.on_error) == (8000, "skip")
    waves, labels = [tone(pitch) for pitch in (400, 410, 2000, 2020)] * 2, ["low", "low", "high", "high"] * 2
    search = GridSearchCV(
        make_pipeline(extractor(), CALMClassifier()), {"headextractor__sampling_rate": [8000, 16000]}, cv=2
    )
    assert set(search.fit(waves, labels).best_params_) == {"headextractor__sampling_rate"}
    with pytest.raises(ValueError, match="invalid sampling rate"):
        extractor(sampling_rate=-1).transform([noise(0.5)])
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        extractor(on_error="ignore").transform([noise(0.5)])


def test_clips_that_fail_are_rows_of_nan_if_they_are_skipped() -> None:
    entries = ["nowhere.wav", noise(0.5), np.zeros(0), noise(0.5, seed=1), "gone.wav", np.full(100, np.nan)]
    skipping = extractor(sampling_rate=16000, on_error="skip")
    with pytest.warns(UserWarning) as caught:
        X = skipping.transform(entries)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("4 of 6 clips failed, and their head vectors are NaN; nowhere.wav: no such file")
    assert "gone.wav" in message and "no samples in it" in message and message.endswith(" …")
    assert np.isnan(X).all(axis=(1, 2, 3)).tolist() == [True, False, True, False, True, True]
    np.testing.assert_array_equal(X[[1, 3]], skipping.transform([entries[1], entries[3]]))
    with pytest.raises(ValueError, match=r"4 of 6 clips failed; nowhere\.wav: no such file"):
        extractor(sampling_rate=16000).transform(entries)


def test_nothing_is_warned_of_if_no_clip_fails() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor(sampling_rate=16000, on_error="skip").transform([noise(0.5)])


def test_all_clips_may_fail() -> None:
    with pytest.warns(UserWarning, match="1 of 1 clips failed"):
        X = extractor(on_error="skip").transform(["nowhere.wav"])
    assert X.shape == (1, 6, 8, 32) and np.isnan(X).all()


def test_each_entry_is_one_row(class_folder: Callable[..., Path]) -> None:
    folder = class_folder(2)
    with pytest.raises(ValueError, match=r"X has 1 entries but 4 clips, .*: pass find_clips\(X\)"):
        extractor().transform([folder])
    with pytest.raises(ValueError, match="must be a sequence of clips; .* for a folder or a manifest pass find_clips"):
        extractor().transform(str(folder))
    with pytest.raises(ValueError, match=r"got one clip: for a single clip, pass \[clip\]"):
        extractor().transform(noise(0.5))
    assert extractor().transform(find_clips(folder)).shape == (4, 6, 8, 32)


def test_names_are_those_of_the_flattened_features() -> None:
    waves = [tone(pitch) for pitch in (400, 410, 2000, 2020)]
    names = extractor().get_feature_names_out()
    X = extractor(sampling_rate=16000).transform(waves)
    assert len(set(names)) == len(names) == X[0].size
    assert names.reshape(X.shape[1:])[3, 5, 17] == "layer 3 · head 5 · 17"
    clf = CALMClassifier().fit(X, ["low", "low", "high", "high"])
    assert [name.rpartition(" · ")[0] for name in names[:: X.shape[-1]]] == clf.head_names_.tolist()
    flat = np.asarray(X).reshape(len(X), -1)
    np.testing.assert_array_equal(flat[:, names == "layer 3 · head 5 · 17"][:, 0], X[:, 3, 5, 17])


def test_a_data_frame_is_refused_plainly_and_a_global_setting_is_ignored() -> None:
    with pytest.raises(ValueError, match="`set_output` is not available"):
        make_pipeline(extractor(), CALMClassifier()).set_output(transform="pandas")
    with config_context(transform_output="pandas"):
        assert extractor(sampling_rate=16000).transform([noise(0.5)]).shape == (1, 6, 8, 32)
