"""The whole family on one cache: a table of accuracies, and a plot of them against shots.

python examples/compare.py heads.h5 --shots 1 2 5 10 --seeds 10 --plot compare.png
"""

import argparse

from calm import HeadCache, compare
from calm.classifiers.registry import TITLES

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cache", nargs="?", default="heads.h5")
parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5, 10])
parser.add_argument("--seeds", type=int, default=10)
parser.add_argument("--methods", nargs="+", choices=list(TITLES), default=list(TITLES))
parser.add_argument("--plot", help="write a plot here (needs matplotlib: pip install 'calm-audio[plot]')")
args = parser.parse_args()

with HeadCache(args.cache) as cache:
    print(f"{cache!r}; {args.seeds} support sets, mean accuracy ± 95 %")
    found = compare(cache, args.shots, support_sets=args.seeds, methods=args.methods)

print(f"{'':20}" + "".join(f"{shots:>9} shots" for shots in args.shots))
for name in args.methods:
    pairs = zip(100 * found.mean(name), 100 * found.half_width(name), strict=True)
    print(f"{TITLES[name]:20}" + "".join(f"{mean:8.1f} ± {width:4.1f}" for mean, width in pairs))

if args.plot:
    from calm.evaluation.plots import new_figure, plot_curves

    figure, axis = new_figure(1, 7, 4.5)
    plot_curves(axis, found)
    figure.savefig(args.plot, dpi=130)
    print(f"wrote {args.plot}")
