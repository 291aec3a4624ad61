"""Measure how much dtype, attention, batches and storage change head vectors and predicted labels.

The reference is a full forward pass over one clip at a time in float32, with PyTorch's attention (sdpa). Distances are
between head vectors of the same head and clip, relative to the norm of the reference. Classifiers are fitted on support
sets and predict the other clips, with folds as groups. The table shows how many predicted labels differ from the
reference, and the paired difference in accuracy (mean over support sets ± 95 %). In the last columns, CALM is fitted on
the reference and predicts vectors of the other configuration. Fingerprints forbid this where dtypes differ.

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
class Config:
    """Configuration of an extraction."""

    name: str
    dtype: str = "float32"
    attention: str = "sdpa"
    batch_size: int = 1
    storage: str = "float32"
    quantize: str | None = None


def list_configs(dtypes: Sequence[str], attentions: Sequence[str], bits: Sequence[str]) -> Iterator[Config]:
    yield Config("batches of 8", batch_size=8)
    yield Config("batches of 32", batch_size=32)
    for attention in attentions:
        yield Config(f"attention {attention}", attention=attention, batch_size=8)
    yield Config("stored in float16", batch_size=8, storage="float16")
    for dtype in dtypes:
        yield Config(dtype, dtype=dtype, batch_size=8)
        yield Config(f"{dtype}, batches of 1", dtype=dtype)
        for attention in attentions:
            yield Config(f"{dtype}, attention {attention}", dtype=dtype, attention=attention, batch_size=8)
    for quantize in bits:
        yield Config(quantize, batch_size=8, quantize=quantize)
        yield Config(f"{quantize}, batches of 1", quantize=quantize)


def extract(model: str, device: str, clips: Sequence[Clip], config: Config) -> NDArray[np.float32]:
    """Return head vectors (clips, layers, heads, dim) of one configuration."""
    lalm = load_lalm(model, device=device, dtype=config.dtype, attention=config.attention, quantize=config.quantize)
    found = collect_results(head_vectors(lalm, clips, [DEFAULT_QUESTION] * len(clips), batch_size=config.batch_size))
    if found.values is None or found.failures:
        raise SystemExit(f"{config.name}: {found.failures[0].reason}")
    return found.values.astype(config.storage).astype(np.float32)


def extract_reference(lalm: LALM, clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return head vectors (clips, layers, heads, dim) from full forward passes over one clip at a time."""
    chat, found = lalm.builder.chat(DEFAULT_QUESTION), []
    for clip in clips:
        wave = read_waveform(clip.audio, lalm.builder.sampling_rate, lalm.builder.window_seconds)
        found.append(record_heads(lalm.model, lalm.heads, lalm.inputs([wave], [chat]))[0].cpu().numpy())
    return np.stack(found)


@dataclass(frozen=True)
class LabelChange:
    """Change of predicted labels, in percent, for each support set."""

    differ: NDArray[np.float64]  #: share of labels that differ from the reference
    accuracy: NDArray[np.float64]  #: accuracy minus that of the reference


def compare_labels(
    method: HeadClassifier,
    support_vectors: NDArray[np.float32],
    query_vectors: NDArray[np.float32],
    reference: NDArray[np.float32],
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    shots: int,
    sets: int,
) -> LabelChange:
    """Fit and predict on each support set, with the configuration and with the reference."""
    differ, gained = [], []
    for seed in range(sets):
        support, query = draw_support(y, shots, groups=groups, seed=seed)
        expected = clone(method).fit(reference[support], y[support]).predict(reference[query])
        predicted = clone(method).fit(support_vectors[support], y[support]).predict(query_vectors[query])
        differ.append(100 * (predicted != expected).mean())
        gained.append(100 * ((predicted == y[query]).mean() - (expected == y[query]).mean()))
    return LabelChange(np.array(differ), np.array(gained))


def format_change(change: LabelChange) -> str:
    half = stats.sem(change.accuracy) * stats.t.ppf(0.975, len(change.accuracy) - 1)
    return f"{change.differ.mean():.2f} % | {change.accuracy.mean():+.2f} ± {half:.2f}"


def find_folds(clips: Sequence[Clip]) -> NDArray[np.int64]:
    """Return the fold of each clip, with which file names of ESC begin; otherwise each clip is its own group."""
    names = [Path(clip.name).name.split("-")[0] for clip in clips]
    if all(name.isdigit() for name in names):
        return np.array([int(name) for name in names])
    return np.arange(len(clips))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of clips with one sub-folder per class")
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
    groups = find_folds(clips)
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(
        f"{platform.platform()}, {where}, torch {torch.__version__}, transformers {transformers.__version__}; ", end=""
    )
    print(f"{args.model} on {args.device}, {len(clips)} clips, {args.shots} shots, {args.sets} support sets\n")
    reference = extract_reference(load_lalm(args.model, device=args.device, dtype="float32", attention="sdpa"), clips)
    lengths = np.linalg.norm(reference, axis=-1)
    print(
        "| | median distance | largest | CALM: labels that differ | accuracy | SAV: labels that differ | accuracy | ",
        end="",
    )
    print("CALM fitted on the reference: labels that differ | accuracy |")
    print("| --- |" + " --- |" * 8)
    joined = rearrange(reference, "n l h d -> n (l h) d")
    for config in list_configs(args.dtypes, args.attentions, args.quantize):
        found = extract(args.model, args.device, clips, config)
        distances = np.linalg.norm(found - reference, axis=-1) / lengths
        vectors = rearrange(found, "n l h d -> n (l h) d")
        task = (joined, y, groups, args.shots, args.sets)
        calm, sav = (compare_labels(method, vectors, vectors, *task) for method in (CALMClassifier(), SAVClassifier()))
        mixed = compare_labels(CALMClassifier(), joined, vectors, *task)
        print(f"| {config.name} | {np.median(distances):.1e} | {distances.max():.1e} | ", end="")
        print(f"{format_change(calm)} | {format_change(sav)} | {format_change(mixed)} |", flush=True)


if __name__ == "__main__":
    main()
