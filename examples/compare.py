"""The whole family on one cache: a table of accuracies, and a plot of them against shots.

python examples/compare.py heads.h5 --shots 1 2 5 10 --seeds 10 --plot compare.png
"""

import argparse

import numpy as np
from scipy import stats

from calm import HeadCache, draw_episode, make_method
from calm.methods import TITLES


def accuracies(cache: HeadCache, methods: list[str], shots: int, seeds: int) -> dict[str, np.ndarray]:
    """Fit every method on the same support sets and return its accuracy on the clips of other groups, in percent."""
    found: dict[str, list[float]] = {name: [] for name in methods}
    for seed in range(seeds):
        episode = draw_episode(cache, shots, seed)
        for name in methods:
            fitted = make_method(name).fit(episode.support, episode.support.labels)
            found[name].append(100 * fitted.score(episode.query, episode.query.labels))
    return {name: np.array(values) for name, values in found.items()}


def half_width(values: np.ndarray) -> float:
    """Return half the 95 % interval of a mean, by Student's distribution over support sets."""
    return float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)) if len(values) > 1 else float("nan")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cache", nargs="?", default="heads.h5")
parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 5, 10])
parser.add_argument("--seeds", type=int, default=10)
parser.add_argument("--methods", nargs="+", choices=list(TITLES), default=list(TITLES))
parser.add_argument("--plot", help="write a plot here (needs matplotlib: pip install 'calm[plot]')")
args = parser.parse_args()

with HeadCache(args.cache) as cache:
    print(f"{cache!r}; {args.seeds} support sets, mean accuracy ± 95 %")
    table = {shots: accuracies(cache, args.methods, shots, args.seeds) for shots in args.shots}

print(f"{'':20}" + "".join(f"{shots:>9} shots" for shots in args.shots))
for name in args.methods:
    cells = [f"{table[shots][name].mean():8.1f} ± {half_width(table[shots][name]):4.1f}" for shots in args.shots]
    print(f"{TITLES[name]:20}" + "".join(cells))

if args.plot:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5))
    for number, name in enumerate(args.methods):
        means = [table[shots][name].mean() for shots in args.shots]
        widths = [half_width(table[shots][name]) for shots in args.shots]
        beside = np.array(args.shots) * 1.02 ** (number - len(args.methods) / 2)  # bars that do not hide each other
        style = {"color": "black", "linewidth": 2.5, "zorder": 3} if name == "calm" else {"linewidth": 1.2}
        axis.errorbar(beside, means, yerr=widths, marker="o", markersize=4, capsize=2, label=TITLES[name], **style)
    axis.set(xscale="log", xlabel="shots (clips a class)", ylabel="accuracy, %")
    axis.set_xticks(args.shots, [str(shots) for shots in args.shots], minor=False)
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(args.plot, dpi=130)
    print(f"wrote {args.plot}")
