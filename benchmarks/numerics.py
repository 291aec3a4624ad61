"""How far head vectors move with precision, attention implementation, batches and storage; and whether labels do.

Every way of extracting is compared with whole passes over one clip at a time in float32 with PyTorch's attention
(sdpa). Distances are of a head's vector of a clip, relative to its length there. Labels are those of classifiers fitted
on support sets of the same way and asked about the other clips, folds as groups: how many of them differ, and by how
much accuracy does (mean over support sets ± 95 %, paired). The last columns fit on the reference and ask about the
other way, which a cache's fingerprint would refuse where precisions differ.

    python benchmarks/numerics.py ../shared/esc10
    python benchmarks/numerics.py ../shared/esc10 --device cuda --model qwen2-audio
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from einops import rearrange
from numpy.typing import NDArray
from scipy import stats
from sklearn.base import clone

from calm import CALMClassifier, SAVClassifier
from calm.classifiers.base import HeadClassifier
from calm.extract import (
    DEFAULT_QUESTION,
    LALM,
    Clip,
    collect_results,
    find_clips,
    head_vectors,
    load_lalm,
    read_waveform,
    record_heads,
)
from calm.fit import draw_support


@dataclass(frozen=True)
class Way:
    """One way of extracting."""

    name: str
    dtype: str = "float32"
    attention: str = "sdpa"
    batch_size: int = 1
    storage: str = "float32"
    quantize: str | None = None


def ways(dtypes: Sequence[str], attentions: Sequence[str], bits: Sequence[str]) -> Iterator[Way]:
    yield Way("batches of 8", batch_size=8)
    yield Way("batches of 32", batch_size=32)
    for attention in attentions:
        yield Way(f"attention {attention}", attention=attention, batch_size=8)
    yield Way("stored in float16", batch_size=8, storage="float16")
    for dtype in dtypes:
        yield Way(dtype, dtype=dtype, batch_size=8)
        yield Way(f"{dtype}, batches of 1", dtype=dtype)
        for attention in attentions:
            yield Way(f"{dtype}, attention {attention}", dtype=dtype, attention=attention, batch_size=8)
    for quantize in bits:
        yield Way(quantize, batch_size=8, quantize=quantize)
        yield Way(f"{quantize}, batches of 1", quantize=quantize)


def extract(model: str, device: str, clips: Sequence[Clip], way: Way) -> NDArray[np.float32]:
    """Return head vectors (clips, layers, heads, dim)."""
    lalm = load_lalm(model, device=device, dtype=way.dtype, attention=way.attention, quantize=way.quantize)
    found = collect_results(head_vectors(lalm, clips, [DEFAULT_QUESTION] * len(clips), batch_size=way.batch_size))
    if found.values is None or found.failures:
        raise SystemExit(f"{way.name}: {found.failures[0].reason}")
    return found.values.astype(way.storage).astype(np.float32)


def whole_passes(lalm: LALM, clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return head vectors of one clip at a time, nothing left out."""
    chat, found = lalm.builder.chat(DEFAULT_QUESTION), []
    for clip in clips:
        wave = read_waveform(clip.audio, lalm.builder.sampling_rate, lalm.builder.window_seconds)
        found.append(record_heads(lalm.model, lalm.heads, lalm.inputs([wave], [chat]))[0].cpu().numpy())
    return np.stack(found)


@dataclass(frozen=True)
class Moved:
    """What became of labels, in percent: one entry a support set."""

    differ: NDArray[np.float64]
    accuracy: NDArray[np.float64]  #: of this way less that of the reference


def labels_moved(
    method: HeadClassifier,
    fitted_on: NDArray[np.float32],
    asked: NDArray[np.float32],
    reference: NDArray[np.float32],
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    shots: int,
    sets: int,
) -> Moved:
    differ, gained = [], []
    for seed in range(sets):
        support, query = draw_support(y, shots, groups=groups, seed=seed)
        before = clone(method).fit(reference[support], y[support]).predict(reference[query])
        now = clone(method).fit(fitted_on[support], y[support]).predict(asked[query])
        differ.append(100 * (now != before).mean())
        gained.append(100 * ((now == y[query]).mean() - (before == y[query]).mean()))
    return Moved(np.array(differ), np.array(gained))


def told(moved: Moved) -> str:
    half = stats.sem(moved.accuracy) * stats.t.ppf(0.975, len(moved.accuracy) - 1)
    return f"{moved.differ.mean():.2f} % | {moved.accuracy.mean():+.2f} ± {half:.2f}"


def folds_of(clips: Sequence[Clip]) -> NDArray[np.int64]:
    """Number ESC's folds, with which its files begin; any other clip is a group of its own."""
    names = [Path(clip.name).name.split("-")[0] for clip in clips]
    if all(name.isdigit() for name in names):
        return np.array([int(name) for name in names])
    return np.arange(len(clips))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of clips, one sub-folder a class")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", nargs="*", default=["bfloat16", "float16"])
    parser.add_argument("--attentions", nargs="*", default=["eager"])
    parser.add_argument("--quantize", nargs="*", default=[], help="int8, nf4")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--sets", type=int, default=30)
    args = parser.parse_args()
    clips = find_clips(args.data)
    y = np.unique([str(clip.label) for clip in clips], return_inverse=True)[1]
    groups = folds_of(clips)
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(
        f"{platform.platform()}, {where}, torch {torch.__version__}, transformers {transformers.__version__}; ", end=""
    )
    print(f"{args.model} on {args.device}, {len(clips)} clips, {args.shots} shots, {args.sets} support sets\n")
    reference = whole_passes(load_lalm(args.model, device=args.device, dtype="float32", attention="sdpa"), clips)
    lengths = np.linalg.norm(reference, axis=-1)
    print(
        "| | median distance | largest | CALM: labels that differ | accuracy | SAV: labels that differ | accuracy | ",
        end="",
    )
    print("CALM fitted on the reference: labels that differ | accuracy |")
    print("| --- |" + " --- |" * 8)
    joined = rearrange(reference, "n l h d -> n (l h) d")
    for way in ways(args.dtypes, args.attentions, args.quantize):
        found = extract(args.model, args.device, clips, way)
        distances = np.linalg.norm(found - reference, axis=-1) / lengths
        here = rearrange(found, "n l h d -> n (l h) d")
        how = (joined, y, groups, args.shots, args.sets)
        calm, sav = (labels_moved(method, here, here, *how) for method in (CALMClassifier(), SAVClassifier()))
        mixed = labels_moved(CALMClassifier(), joined, here, *how)
        print(f"| {way.name} | {np.median(distances):.1e} | {distances.max():.1e} | ", end="")
        print(f"{told(calm)} | {told(sav)} | {told(mixed)} |", flush=True)


if __name__ == "__main__":
    main()
