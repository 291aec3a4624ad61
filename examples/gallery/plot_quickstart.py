"""
Few-shot classification on synthesized sounds
=============================================

Synthesize six classes of sound, extract head vectors with the built-in model ``tiny``, and fit CALM on five clips per
class. The heat map shows how far the classifier trusts each attention head for each class.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from calm import (
    CALMClassifier,
    HeadCache,
    Request,
    draw_episode,
    evaluate,
    extract_to_cache,
    find_clips,
)
from calm.demo import write_sounds
from calm.evaluation.plots import plot_head_weights
from calm.sounds import make_sounds

# %%
# Write the sounds into one folder per class, and extract the head vectors of all clips into a cache.

folder = Path(tempfile.mkdtemp())
write_sounds(folder / "sounds", *make_sounds(n_classes=6, n_per_class=15, seed=0))
clips = find_clips(folder / "sounds")
report = extract_to_cache(clips, folder / "heads.h5", Request("tiny", device="cpu"))
cache = HeadCache(report.path)
print(cache)

# %%
# Draw a support set of five clips per class. All other clips are queries.

episode = draw_episode(cache, shots=5, seed=0)
classifier = CALMClassifier().fit(episode.support, episode.support.labels)
evaluation = evaluate(episode.query.labels, classifier.predict(episode.query))
print(f"accuracy on {len(episode.query)} queries: {evaluation.accuracy:.3f}")

# %%
# Head weights: one row per class, one column per head. The weights of a class sum to one over heads; 1 is the weight
# of a uniform vote.

figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
plot_head_weights(axis, classifier)
plt.show()

# %%
# ``explain`` names the heads that contributed most to one prediction.

print(classifier.predict(episode.query[:1])[0])
for name, label, importance in classifier.explain(episode.query[:1]).top_heads(0, n=5):
    print(f"{name}: {importance:+.3f} for {label}")
