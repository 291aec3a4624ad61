"""The sound of videos, their pictures, and both: one cache each, and what a few labelled clips make of it.

python examples/audio_visual.py videos/ --model qwen2.5-omni --shots 5

A folder of videos with one sub-folder a class, or a manifest. The support sets are the same for all three.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from calm import HeadCache, Request, compare, extract_to_cache, find_clips

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("--model", default="qwen2.5-omni")
parser.add_argument("--shots", type=int, default=5)
parser.add_argument("--fps", type=float, default=2.0)
parser.add_argument("--out", type=Path, default=Path())
args = parser.parse_args()

clips = find_clips(args.data)
methods = ("calm", "sav", "linear-probe")
rows = []
for modality in ("audio", "visual", "audio-visual"):
    request = Request(args.model, modality=modality, fps=None if modality == "audio" else args.fps)
    report = extract_to_cache(clips, args.out / f"{modality}.h5", request, progress=True)
    for name, reason in report.failures.items():
        print(f"{name}: {reason}")
    with HeadCache(report.path) as cache:
        found = compare(cache, (args.shots,), methods=methods)
    cells = (f"{100 * found.mean(m)[0]:.1f} ± {100 * found.half_width(m)[0]:.1f}" for m in methods)
    rows.append(f"| {modality} | " + " | ".join(cells) + " |")
print("| | " + " | ".join(methods) + " |\n| --- |" + " --- |" * len(methods))
print("\n".join(rows))
