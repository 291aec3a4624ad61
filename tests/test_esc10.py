"""End-to-end accuracy on real recordings: 400 clips of ESC-10 with the model ``tiny``."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from calm import CALMClassifier, HeadCache, Request, SAVClassifier, draw_episode, extract_to_cache, find_clips
from calm.extract import LALM

SEEDS = 10


@pytest.fixture(scope="module")
def cache(esc10: Path, tiny: LALM, tmp_path_factory: pytest.TempPathFactory) -> HeadCache:
    path = tmp_path_factory.mktemp("esc10") / "heads.h5"
    report = extract_to_cache(find_clips(esc10), path, Request("tiny"), lalm=tiny)
    assert (report.done, report.failures) == (400, {})
    return HeadCache(path)


@pytest.mark.slow
@pytest.mark.parametrize("classifier", [CALMClassifier(), SAVClassifier()], ids=lambda clf: type(clf).__name__)
def test_five_shots_are_above_45_percent_over_ten_seeds_with_folds_as_groups(
    cache: HeadCache, classifier: CALMClassifier | SAVClassifier
) -> None:
    accuracies = []
    for seed in range(SEEDS):
        episode = draw_episode(cache, shots=5, seed=seed)
        folds = [{cache.groups[row] for row in side.rows} for side in (episode.support, episode.query)]
        assert not folds[0] & folds[1]
        classifier.fit(episode.support, episode.support.labels)
        accuracies.append(classifier.score(episode.query, episode.query.labels))
    assert np.mean(accuracies) > 0.45


def test_labels_that_say_nothing_are_learnt_to_chance(cache: HeadCache) -> None:
    shuffled = np.random.default_rng(0).permutation(cache.labels)
    episode = draw_episode(cache, shots=5)
    clf = CALMClassifier().fit(episode.support, shuffled[episode.support.rows])
    assert clf.score(episode.query, shuffled[episode.query.rows]) < 0.2


README = Path(__file__).resolve().parents[1] / "README.md"


def test_python_examples_of_the_readme_run(
    cache: HeadCache, esc10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/esc10").symlink_to(esc10)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/heads.h5").symlink_to(cache.path)
    monkeypatch.chdir(tmp_path / "work")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert Path("calm.safetensors").is_file()
