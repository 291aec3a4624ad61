"""Tests of the comparison of methods, of the plots, and of the demo, which needs no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import NotFittedError
from typer.testing import CliRunner

from calm import CALMClassifier, LinearProbeClassifier, compare, draw_episode, load, make_method
from calm.cli import app
from calm.demo import run_demo
from calm.evaluation.plots import new_figure, plot_bars, plot_curves, plot_head_weights
from calm.extract import HeadCache
from tests.tasks import cache_of, task


def cache_with_groups(tmp_path: Path) -> HeadCache:
    X, y = task(60)
    return cache_of(tmp_path / "heads.h5", X, y)


def test_every_method_sees_the_same_support_sets(tmp_path: Path) -> None:
    with cache_with_groups(tmp_path) as cache:
        found = compare(cache, (1, 3), support_sets=4, methods=("sav", "calm"))
        by_hand = np.zeros((2, 4))
        for row, shots in enumerate((1, 3)):
            for seed in range(4):
                episode = draw_episode(cache, shots, seed)
                sav = make_method("sav").fit(episode.support, episode.support.labels)
                by_hand[row, seed] = sav.score(episode.query, episode.query.labels)
    np.testing.assert_array_equal(found.accuracy["sav"], by_hand)
    np.testing.assert_allclose(found.mean("sav"), by_hand.mean(axis=1))
    low, high = stats.t.interval(0.95, 3, by_hand.mean(axis=1), stats.sem(by_hand, axis=1))
    np.testing.assert_allclose(found.half_width("sav"), (high - low) / 2)
    ahead, width = found.difference("sav", over="sav")
    assert (ahead == 0).all() and (width == 0).all()


def test_an_impossible_comparison_is_refused(tmp_path: Path) -> None:
    with cache_with_groups(tmp_path) as cache:
        with pytest.raises(ValueError, match="method must be one of"):
            compare(cache, methods=("magic",))
        with pytest.raises(ValueError, match="support_sets must be at least 1"):
            compare(cache, support_sets=0)
        assert np.isnan(compare(cache, support_sets=1, methods=("sav",)).half_width("sav")).all()


def test_plots_show_what_was_found(tmp_path: Path) -> None:
    with cache_with_groups(tmp_path) as cache:
        found = compare(cache, (1, 2), support_sets=2, methods=("calm", "sav"))
        fitted = CALMClassifier().fit(cache, cache.labels)
    figure, axes = new_figure(3, 12, 4)
    plot_curves(axes[0], found)
    plot_bars(axes[1], {"CALM": (0.8, 0.1), "SAV": (0.7, float("nan"))}, chance=0.25)
    plot_head_weights(axes[2], fitted)
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["CALM", "SAV"]
    assert [bar.get_width() for bar in axes[1].patches] == [70, 80]  # the first method is on top
    shown = axes[2].images[0].get_array()
    np.testing.assert_allclose(shown.mean(axis=1), 1)  # relative to a uniform vote
    np.testing.assert_allclose(shown, fitted.head_weights_.T * fitted.n_heads_in_)
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    with pytest.raises(NotFittedError):
        plot_head_weights(axes[2], CALMClassifier())
    with pytest.raises(ValueError, match="LinearProbeClassifier has no head weights"):
        plot_head_weights(axes[2], LinearProbeClassifier().fit(*task()))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'calm-audio\[plot\]'"):
        new_figure(1, 3, 3)
    demo = run_demo(tmp_path / "demo", n_classes=2, n_per_class=3, shots=2, support_sets=2)
    assert demo.plot is None and demo.classifier.exists()


def test_the_demo_needs_no_network(tmp_path: Path) -> None:
    no_network = (
        "import socket\n"
        "def refuse(*args, **kwargs): raise OSError('no network here')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from calm.cli import main; main()"
    )
    command = [sys.executable, "-c", no_network, "demo", "--kinds", "3", "--clips", "6", "--shots", "2"]
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    output = subprocess.run(command, cwd=tmp_path, env=offline, capture_output=True, text=True, check=True).stdout
    assert "3 classes of synthesized sounds, 6 clips per class, model tiny" in output
    for row in ("CALM ", "SAV ", "linear probe", "zero-shot prompting", "chance"):
        assert row in output
    assert "calm extract --model tiny YOUR_CLIPS\n  calm fit --shots 2\n  calm predict CLIP\n" in output
    out = tmp_path / "calm-demo"
    assert len(list(out.glob("sounds/*/*.wav"))) == 18
    assert (out / "demo.png").exists()
    with HeadCache(out / "heads.h5") as cache:
        assert len(cache.done) == 18
        assert load(out / "calm.safetensors").predict(cache).shape == (18,)


def test_the_demo_prints_json_and_overwrites_nothing(tmp_path: Path) -> None:
    command = ["demo", "--kinds", "2", "--clips", "3", "--shots", "2", "--out", str(tmp_path / "out")]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert set(found["accuracy"]) == set(found["half_width"]) and found["chance"] == 0.5
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    out = tmp_path / "out"
    assert again.stderr == f"error: {out} exists and is not an empty folder: remove it, or choose another folder\n"


def test_a_demo_without_query_clips_is_refused_before_it_writes_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no query clips are left"):
        run_demo(tmp_path / "demo", n_per_class=5, shots=5)
    with pytest.raises(ValueError, match="n_classes must be at least 2"):
        run_demo(tmp_path / "demo", n_classes=1)
    assert not (tmp_path / "demo").exists()
