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
    print(repr(cache))
    comparison = compare(cache, args.shots, support_sets=args.seeds, methods=args.methods)
print(comparison)

if args.plot:
    from calm.evaluation.plots import new_figure

    figure, axis = new_figure(columns=1, width=7, height=4.5)
    comparison.plot(axis)
    figure.savefig(args.plot, dpi=130)
    print(f"wrote {args.plot}")
