"""
Compare few-shot methods
========================

Fit CALM, SAV and the linear probe on the same support sets of 1, 2, 5 and 10 clips per class, and plot mean accuracy
with 95 % confidence intervals.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from calm import HeadCache, Request, compare, extract_to_cache, find_clips
from calm.demo import write_sounds
from calm.sounds import make_sounds

folder = Path(tempfile.mkdtemp())
write_sounds(folder / "sounds", *make_sounds(n_classes=12, n_per_class=20, seed=1))
clips = find_clips(folder / "sounds")
report = extract_to_cache(clips, folder / "heads.h5", Request("tiny", device="cpu"))

# %%
# All methods see the same support sets, so that differences are paired.

shots, methods = (1, 2, 5, 10), ("calm", "calm-published", "sav", "linear-probe")
with HeadCache(report.path) as cache:
    comparison = compare(cache, shots, support_sets=5, methods=methods)

print(comparison)
comparison.plot()
plt.show()

# %%
# The paired difference between two methods, and half the width of its 95 % interval. A difference smaller than that is
# no difference.

difference, half_width = comparison.difference("calm", over="sav")
for number, mean, half in zip(shots, difference, half_width, strict=True):
    print(f"{number:2} shots: CALM - SAV = {100 * mean:+.1f} ± {100 * half:.1f} percentage points")
