"""Fixtures: shared data, the tiny model, small real audio files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from calm.classifiers.base import HeadClassifier
from calm.extract import LALM, load_lalm
from tests.extract.models.families import torchvision_cpu  # noqa: F401  before transformers looks for torchvision
from tests.tasks import CLASSIFIERS


def pytest_configure() -> None:
    """Limit each pytest-xdist worker to one thread: the workers together use all cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # for subprocesses of tests
        torch.set_num_threads(1)
        threadpool_limits(1)


SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(name: str) -> Path:
    """Return a path in the shared data; if it is missing, skip the test, or fail if CI=true."""
    path = SHARED / name
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"shared data is missing: {path}")
        pytest.skip(f"shared data is missing: {path}")
    return path


@pytest.fixture(scope="session")
def esc10() -> Path:
    return shared("esc10")


@pytest.fixture(scope="session")
def golden() -> dict[str, NDArray]:
    with np.load(shared("golden") / "published_code_outputs.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def tiny() -> LALM:
    return load_lalm("tiny", device="cpu")


def another_tiny() -> tuple[Any, Any]:
    """Load model and processor of another ``tiny``, which a test may change."""
    lalm = load_lalm("tiny", device="cpu")
    return lalm.model, lalm.processor


@pytest.fixture(params=CLASSIFIERS, ids=lambda clf: type(clf).__name__)
def classifier(request: pytest.FixtureRequest) -> HeadClassifier:
    return clone(request.param)


def noise(seconds: float, seed: int = 0, rate: int = 16000) -> NDArray[np.float32]:
    """Return white noise at a peak of about 0.3."""
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def tone(pitch: float, seconds: float = 0.5, seed: int = 0, rate: int = 16000) -> NDArray[np.float32]:
    """Return a tone in a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32) + 0.1 * noise(seconds, seed, rate)


@pytest.fixture
def class_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of real wav files, with one sub-folder per class; by default low and high tones."""

    def make(clips: int = 4, classes: tuple[str, ...] = ("high", "low"), name: str = "data") -> Path:
        for c, label in enumerate(classes):
            folder = tmp_path / name / label
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(clips):
                pitch = 3000 / (1 + 3 * c) * (1 + 0.02 * i)
                soundfile.write(folder / f"{i}.wav", tone(pitch, seed=100 * c + i), 16000)
        return tmp_path / name

    return make


def short_of_memory(monkeypatch: pytest.MonkeyPatch, lalm: LALM, clips: int, samples: int = 10**9) -> list[int]:
    """Make a model run out of memory for more clips or longer clips than given; return the list of its batch sizes."""
    forward, sizes = type(lalm.model).forward, list[int]()

    def limited(self: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > clips or int(inputs["feature_attention_mask"].sum(-1).max()) >= samples:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, **inputs)

    monkeypatch.setattr(type(lalm.model), "forward", limited)
    return sizes
