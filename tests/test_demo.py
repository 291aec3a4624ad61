"""Tests of the comparison of methods, of the plots, and of the demo, which needs no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import NotFittedError
from typer.testing import CliRunner

from calm import CALMClassifier, Comparison, LinearProbeClassifier, compare, draw_episode, load, make_method
from calm.cli import app
from calm.demo import run_demo
from calm.evaluation.plots import new_figure, plot_accuracies, plot_curves, plot_head_weights
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
        assert np.isnan(compare(cache, 5, support_sets=1, methods=("sav",)).half_width("sav")).all()


def test_plots_show_what_was_found(tmp_path: Path) -> None:
    with cache_with_groups(tmp_path) as cache:
        found = compare(cache, (1, 2), support_sets=2, methods=("calm", "sav"))
        fitted = CALMClassifier().fit(cache, cache.labels)
    figure, axes = new_figure(3, 12, 4)
    plot_curves(axes[0], found)
    plot_accuracies(axes[1], {"CALM": (0.8, 0.1), "SAV": (0.7, float("nan"))}, chance=0.25, whiskers="95 %")
    plot_head_weights(axes[2], fitted)
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["CALM", "SAV"]
    assert [label.get_text() for label in axes[1].get_yticklabels()] == ["CALM", "SAV"]
    assert axes[1].get_ylim()[0] > axes[1].get_ylim()[1]  # the first method is on top
    assert [text.get_text() for text in axes[1].texts] == ["80.0 ± 10.0", "70.0", "← chance 25.0"]
    assert axes[1].get_xlim()[0] > 60 and axes[1].get_xlabel() == "accuracy, %\n95 %"
    shown = axes[2].images[0].get_array()
    np.testing.assert_allclose(shown.mean(axis=1), 1)  # relative to a uniform vote
    np.testing.assert_allclose(shown, fitted.head_weights_.T * fitted.n_heads_in_)
    figure.savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    with pytest.raises(NotFittedError):
        plot_head_weights(axes[2], CALMClassifier())
    with pytest.raises(ValueError, match="LinearProbeClassifier has no head weights"):
        plot_head_weights(axes[2], LinearProbeClassifier().fit(*task()))


def test_dollar_signs_in_class_names_are_plain_text(tmp_path: Path) -> None:
    X, y = task()
    names = np.array(["$\\nonsense$", "5 $ and 6 $", "rain"])[np.unique(y, return_inverse=True)[1]]
    figure, axis = new_figure(1, 6, 4)
    plot_head_weights(axis, CALMClassifier().fit(X, names))
    figure.savefig(tmp_path / "plot.png")  # it parses formulas
    assert not any(label.get_parse_math() for label in axis.get_yticklabels())


def test_intervals_of_methods_never_overlap_at_the_same_number_of_shots() -> None:
    methods = ("calm", "calm-published", "sav", "linear-probe")
    comparison = Comparison((1, 2, 5), {name: np.random.default_rng(0).uniform(0.5, 1, (3, 4)) for name in methods})
    axis = new_figure(1, 6, 4)[1]
    plot_curves(axis, comparison)
    positions = np.array([line.get_xdata() for line in axis.lines if line.get_marker() not in ("|", "_")])
    assert positions.shape == (4, 3)
    assert (np.diff(np.sort(np.log(positions.ravel()))) > 0.03).all()  # no two methods share a place
    assert (np.sort(positions.T.ravel()) == positions.T.ravel()).all()  # methods of one number of shots stay together


@pytest.mark.parametrize(
    ("accuracy", "chance", "on_axis", "off_axis"),
    [
        ({"CALM": 0.948, "SAV": 0.924, "linear probe": 0.936, "zero-shot": 0.3}, 0.125, [0.948, 0.924], [0.3, 0.125]),
        ({"CALM": 0.6, "SAV": 0.5}, 0.4, [0.6, 0.5, 0.4], []),
        ({"CALM": 1.0, "SAV": 1.0}, 0.5, [1.0], [0.5]),
        ({"CALM": 0.9}, None, [0.9], []),
        ({"CALM": 0.1, "SAV": 0.12}, 0.125, [0.1, 0.12, 0.125], []),
    ],
)
def test_the_axis_shows_the_differences_between_the_best_methods(
    accuracy: dict[str, float], chance: float | None, on_axis: list[float], off_axis: list[float]
) -> None:
    axis = new_figure(1, 6, 4)[1]
    plot_accuracies(axis, {name: (value, 0.01) for name, value in accuracy.items()}, chance)
    low, high = axis.get_xlim()
    assert high - low >= 2
    assert all(low <= 100 * value <= high for value in on_axis)
    assert all(100 * value < low for value in off_axis)
    texts = " ".join(text.get_text() for text in axis.texts)
    assert all(f"{100 * value:.1f}" in texts for value in [*accuracy.values(), *([chance] if chance else [])])


def test_a_map_of_head_weights_explains_its_axes_and_its_dark_heads() -> None:
    X, y = task(60)
    fitted = CALMClassifier(top_heads=2, combine="vote").fit(X.reshape(60, 3, 2, 8), y)
    axis = new_figure(1, 6, 4)[1]
    plot_head_weights(axis, fitted)
    unused = 6 - len(fitted.used_heads_)
    assert unused and f"black: {unused} of 6 heads are not used (weight 0)" in axis.get_title()
    assert axis.get_xlabel() == "layer (each column is one of its 2 attention heads)"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "2"]
    assert axis.figure.axes[1].get_ylabel() == "head's share of the weight, relative to equal shares"
    y = np.where(y == "dog", "a dog that barks in a distant garden", y)
    plot_head_weights(other := new_figure(1, 6, 4)[1], CALMClassifier().fit(X, y))
    assert other.get_yticklabels()[0].get_text() == "a dog that barks\nin a distant\ngarden"
    assert other.get_xlabel() == "attention head"


def test_a_comparison_prints_and_plots_itself() -> None:
    comparison = Comparison(
        (1, 10), {"calm": np.array([[0.5, 0.7], [1, 1]]), "linear-probe": np.array([[0.4, 0.6]] * 2)}
    )
    assert repr(comparison).splitlines() == [
        "accuracy in %: mean over 2 support sets ± half width of its 95 % interval",
        "                    1 shot      10 shots",
        "calm          60.0 ± 127.1   100.0 ± 0.0",
        "linear-probe  50.0 ± 127.1  50.0 ± 127.1",
    ]
    assert repr(Comparison((1,), {"sav": np.array([[0.5]])})).splitlines()[-1].split() == ["sav", "50.0"]
    html = ElementTree.fromstring(comparison._repr_html_())
    assert [cell.text for cell in html.iter("td")] == ["60.0 ± 127.1", "100.0 ± 0.0", "50.0 ± 127.1", "50.0 ± 127.1"]
    axis = new_figure(1, 6, 4)[1]
    assert comparison.plot(axis) is axis and len(axis.get_legend().get_texts()) == 2
    frame = comparison.to_frame()
    assert frame.columns.tolist() == ["method", "shots", "support_set", "accuracy"]
    assert frame[(frame.method == "calm") & (frame.shots == 1)].accuracy.tolist() == [0.5, 0.7]
    assert len(frame) == 8


def test_without_pandas_a_comparison_has_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas: pip install pandas"):
        Comparison((1,), {"sav": np.array([[0.5]])}).to_frame()


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
