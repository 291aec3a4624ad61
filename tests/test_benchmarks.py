"""Tests of the benchmark scripts that read files of users."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calm import HeadCache, Request, extract_to_cache, find_clips
from calm.classifiers.registry import TITLES
from calm.sounds import make_sounds

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a head cache without groups, files with and without groups, and a file of inputs of no class."""
    folder = tmp_path_factory.mktemp("benchmarks")
    waves, labels = make_sounds(n_classes=2, n_per_class=6, seconds=0.5)
    extract_to_cache(
        find_clips(list(waves), labels=labels.tolist()), folder / "heads.h5", Request("tiny", device="cpu")
    )
    with HeadCache(folder / "heads.h5") as cache:
        rows = cache[cache.done]
        X, y = rows.read(), rows.labels.astype(str)
    np.savez(folder / "plain.npz", X=X, y=y)
    np.savez(folder / "grouped.npz", X=X, y=y, groups=np.arange(len(y)) % 2)
    np.savez(folder / "plain-strange.npz", X=X[:3], y=["noise"] * 3)
    return [folder / name for name in ("heads.h5", "plain.npz", "grouped.npz", "plain-strange.npz")]


def run_accuracy(*arguments: str | Path) -> str:
    command = [sys.executable, str(BENCHMARKS / "accuracy.py"), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def tables(files: list[Path]) -> list[str]:
    return run_accuracy(*files, "--shots", "1", "2", "5", "--seeds", "2").split("\n### ")[1:]


def test_accuracy_measures_all_methods_on_files_with_and_without_groups(tables: list[str]) -> None:
    assert [table.split(":")[0] for table in tables[:3]] == ["heads", "plain", "grouped"]
    assert tables[3].startswith("Mean over 3 files")
    for title in TITLES.values():
        for table in tables:
            row = re.search(rf"^\| {re.escape(title)} \| (.*) \|$", table, flags=re.MULTILINE)
            assert row is not None
            assert all(0 <= float(cell.split()[0]) <= 100 for cell in row[1].split(" | "))
    headers = [re.findall(r"\d+ shots?", table.splitlines()[2]) for table in tables]
    assert headers == [["1 shot", "2 shots", "5 shots"]] * 2 + [["1 shot", "2 shots"]] * 2  # two groups of six clips


def test_accuracy_of_the_same_clips_is_the_same_in_caches_and_arrays(tables: list[str]) -> None:
    of_cache, of_arrays = (table.splitlines()[1:] for table in tables[:2])
    assert of_cache == of_arrays


def test_calibration_error_before_scaling_is_that_of_the_prior_temperature(files: list[Path]) -> None:
    """With one shot, no clip can be held out, so CALM keeps the temperature that it begins with."""
    output = run_accuracy(files[1], "--shots", "1", "--seeds", "2", "--variants")
    errors = re.search(r"calibration error, CALM \| ([\d.]+) \(before: ([\d.]+)\)", output)
    assert errors is not None
    assert errors[1] == errors[2]
