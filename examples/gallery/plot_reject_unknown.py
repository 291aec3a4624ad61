"""
Reject clips of unknown classes
===============================

Fit CALM on four of six classes. Clips of the other two should get no label. Their typicality (a conformal p-value) is
low, and ``predict(X, reject=0.05)`` returns "none of these" for clips below the threshold.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from calm import CALMClassifier, HeadCache, Request, extract_to_cache, find_clips
from calm.demo import write_sounds
from calm.sounds import make_sounds

folder = Path(tempfile.mkdtemp())
write_sounds(folder / "sounds", *make_sounds(n_classes=6, n_per_class=30, seed=2))
clips = find_clips(folder / "sounds")
report = extract_to_cache(clips, folder / "heads.h5", Request("tiny", device="cpu"))
cache = HeadCache(report.path)

# %%
# Half of the clips of the known classes are support.

labels = cache.labels
known = np.isin(labels, np.unique(labels)[:4])
is_support = known & (np.arange(len(labels)) % 2 == 0)
classifier = CALMClassifier().fit(cache[is_support], labels[is_support])

# %%
# Typicality of queries of known and of unknown classes.

queries = {"known classes": cache[known & ~is_support], "unknown classes": cache[~known]}
figure, axis = plt.subplots(figsize=(6.5, 4), layout="constrained")
for name, rows in queries.items():
    typicality = classifier.typicality(rows)
    axis.hist(typicality, bins=np.linspace(0, 1, 21), alpha=0.6, label=name)
    rejected = np.mean(classifier.predict(rows, reject=0.05) == "none of these")
    print(f"{name}: {100 * rejected:.0f} % of {len(rows)} clips rejected")
axis.axvline(0.05, color="black", linestyle="--", label="threshold 0.05")
axis.set(xlabel="typicality", ylabel="clips")
axis.legend()
plt.show()
