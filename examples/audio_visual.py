"""
Compare audio, visual and audio-visual classification of videos
===============================================================

This script extracts three caches of head vectors from the same videos: from the sound, from the frames, and from both.
It fits few-shot classifiers on the same support sets of each cache, and prints a Markdown table of mean accuracies
with 95 % confidence intervals. The data are a folder of videos with one sub-folder per class, or a manifest. The model
must take sound and video.

Run it with ``python examples/audio_visual.py videos/ --model qwen2.5-omni --shots 5``.
"""

import argparse
from pathlib import Path

from calm import HeadCache, Request, compare, extract_to_cache, find_clips

METHODS = ("calm", "sav", "linear-probe")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path, help="folder of videos, or manifest")
parser.add_argument("--model", default="qwen2.5-omni", help="alias, hub id or folder of a model")
parser.add_argument("--shots", type=int, default=5, help="support clips per class")
parser.add_argument("--fps", type=float, default=2.0, help="video frames per second")
parser.add_argument("--out", type=Path, default=Path(), help="folder of the caches")
args = parser.parse_args()

clips = find_clips(args.data)
rows = []
for modality in ("audio", "visual", "audio-visual"):
    request = Request(args.model, modality=modality, fps=None if modality == "audio" else args.fps)
    report = extract_to_cache(clips, args.out / f"{modality}.h5", request, progress=True)
    for clip_name, reason in report.failures.items():
        print(f"{clip_name}: {reason}")
    with HeadCache(report.path) as cache:
        comparison = compare(cache, (args.shots,), methods=METHODS)
    cells = [f"{100 * comparison.mean(m)[0]:.1f} ± {100 * comparison.half_width(m)[0]:.1f}" for m in METHODS]
    rows.append(f"| {modality} | " + " | ".join(cells) + " |")

print("| | " + " | ".join(METHODS) + " |\n| --- |" + " --- |" * len(METHODS))
print("\n".join(rows))
