"""
Compare all few-shot methods on one cache
=========================================

This script fits every method on the same support sets, drawn from a cache of head vectors. It prints a table of mean
accuracies with 95 % confidence intervals and, with ``--plot``, draws them against the number of shots. Make the cache
with ``calm extract --model tiny ../shared/esc10``.

Run it with ``python examples/compare.py heads.h5 --shots 1 2 5 10 --seeds 10 --plot compare.png``.
"""

import argparse

from calm import HeadCache, compare
from calm.classifiers.registry import TITLES

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cache", nargs="?", default="heads.h5", help="cache of labelled clips")
parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5, 10], help="support clips per class")
parser.add_argument("--seeds", type=int, default=10, help="number of support sets")
parser.add_argument("--methods", nargs="+", choices=list(TITLES), default=list(TITLES), help="methods to compare")
parser.add_argument("--plot", help="write a plot to this file (needs matplotlib: pip install 'calm-audio[plot]')")
args = parser.parse_args()

with HeadCache(args.cache) as cache:
    print(f"{cache!r}; {args.seeds} support sets, mean accuracy ± 95 %")
    comparison = compare(cache, args.shots, support_sets=args.seeds, methods=args.methods)

print(f"{'':20}" + "".join(f"{shots:>9} shots" for shots in args.shots))
for method in args.methods:
    means, half_widths = 100 * comparison.mean(method), 100 * comparison.half_width(method)
    cells = "".join(f"{mean:8.1f} ± {width:4.1f}" for mean, width in zip(means, half_widths, strict=True))
    print(f"{TITLES[method]:20}" + cells)

if args.plot:
    from calm.evaluation.plots import new_figure, plot_curves

    figure, axis = new_figure(columns=1, width=7, height=4.5)
    plot_curves(axis, comparison)
    figure.savefig(args.plot, dpi=130)
    print(f"wrote {args.plot}")
