"""The built-in model recognizes the sounds of its training, and its heads help to classify new ones."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open

from calm import CALMClassifier, SAVClassifier
from calm.extract import LALM, collect_results, find_clips, head_vectors, load_lalm
from calm.extract.models.tiny import CHECKPOINT, random_tiny
from calm.fit import draw_support, head_specialization
from calm.inference.zero_shot import zero_shot
from calm.sounds import TRAINING_SOURCES, draw_kind, make_sounds, synthesize

QUESTION = "What is the sound in this audio clip?"


def naming(lalm: LALM, clips: int, options: int) -> float:
    """Return the zero-shot accuracy on sources from the training data."""
    rng, right = np.random.default_rng(5), 0
    for i in range(clips):
        source = TRAINING_SOURCES[i % len(TRAINING_SOURCES)]
        wrong = rng.choice([s for s in TRAINING_SOURCES if s != source], options - 1, replace=False)
        wave = synthesize(rng, draw_kind(rng, (source,)), 2.0).astype(np.float32)
        labels = [str(label) for label in rng.permutation([source, *wrong])]
        right += zero_shot(lalm, [wave], labels).labels[0] == source
    return right / clips


def test_it_names_most_sounds_without_an_example(tiny: LALM) -> None:
    assert naming(tiny, 84, options=8) > 0.6  # chance level is 1 / 8


@pytest.fixture(scope="module")
def new_kinds(tiny: LALM) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Head vectors of ten classes that are not in the training data, from the trained and the random model."""
    waves, labels = make_sounds(10, 16, seed=77)
    found = {}
    for lalm in (tiny, load_lalm("tiny-random", device="cpu")):
        vectors = collect_results(head_vectors(lalm, find_clips(list(waves)), [QUESTION] * len(waves))).values
        assert vectors is not None
        found[lalm.name] = vectors.reshape(len(vectors), -1, vectors.shape[-1]), np.asarray(labels)
    return found


@pytest.mark.parametrize(("classifier", "ahead"), [(SAVClassifier(), 0.1), (CALMClassifier(), 0.03)])
def test_its_heads_classify_new_kinds_better_than_random_ones(
    new_kinds: dict[str, tuple[np.ndarray, np.ndarray]], classifier: SAVClassifier | CALMClassifier, ahead: float
) -> None:
    means = {}
    for name, (X, labels) in new_kinds.items():
        scores = []
        for seed in range(6):
            support, query = draw_support(labels, 5, seed=seed)
            scores.append(classifier.fit(X[support], labels[support]).score(X[query], labels[query]))
        means[name] = np.mean(scores)
    assert means["tiny"] > means["tiny-random"] + ahead


def test_its_heads_are_more_specialized_than_random_ones(new_kinds: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    found = {
        name: head_specialization(X, np.unique(labels, return_inverse=True)[1])
        for name, (X, labels) in new_kinds.items()
    }
    assert found["tiny"] > found["tiny-random"]


def test_the_checkpoint_is_small_and_says_what_it_is() -> None:
    with safe_open(CHECKPOINT / "model.safetensors", "numpy") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"float16"}  # noqa: SIM118
    assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) < 16e6
    card = (CHECKPOINT / "README.md").read_text()
    assert all(part in card for part in ("Data", "Training", "Figures", "Limits"))


def test_a_random_model_differs_by_seed_and_has_the_given_window() -> None:
    first, second = (LALM("tiny-random", *random_tiny(seed)) for seed in (0, 1))
    assert first.weights_digest != second.weights_digest
    short = LALM("tiny-random", *random_tiny(window_seconds=2))
    assert (first.builder.window_seconds, short.builder.window_seconds) == (5, 2)
    assert short.heads.shape == first.heads.shape
