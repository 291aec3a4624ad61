"""Measure the speed-up by torch.compile on batches of several lengths.

The same model runs compiled and uncompiled, in alternation. The encoder layers and, in the decoder, the feed-forward
blocks and norms are compiled. Attention is not, because hooks in it record the head vectors.

    python benchmarks/compiled.py
    python benchmarks/compiled.py --model qwen2-audio --device cuda --dtype bfloat16 --clips 32
"""

from __future__ import annotations

import argparse
import platform
import statistics

import numpy as np
import torch
import transformers
from architectures import build
from extract import synchronized

from calm.extract import LALM, record_heads

SECONDS = (5.0, 4.2, 3.1, 2.2, 1.3, 5.0)


def compile_blocks(lalm: LALM) -> None:
    for layer in lalm.model.get_decoder().layers:
        for block in (layer.mlp, layer.input_layernorm, layer.post_attention_layernorm):
            block.compile(dynamic=True)
    for layer in lalm.model.model.audio_tower.layers:
        layer.compile(dynamic=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", choices=("tiny", "small", "qwen2-audio"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    lalms = {name: build(args.model, args.device, getattr(torch, args.dtype)) for name in ("uncompiled", "compiled")}
    compile_blocks(lalms["compiled"])
    rng, uncompiled = np.random.default_rng(0), lalms["uncompiled"]
    chats = [uncompiled.builder.chat("What is it?")] * args.clips
    lengths = [int(seconds * uncompiled.builder.sampling_rate) for seconds in SECONDS]
    noise = [0.1 * rng.standard_normal((args.clips, samples), dtype=np.float32) for samples in lengths]
    batches = [uncompiled.builder.prepare(list(waves), chats, full_window=False) for waves in noise]

    def time_passes(lalm: LALM) -> float:
        start = synchronized(lalm.device)
        for batch in batches:
            inputs = lalm.on_device(batch)
            record_heads(lalm.model_for(inputs), lalm.heads, inputs)
        return synchronized(lalm.device) - start

    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{platform.platform()}, {where}, torch {torch.__version__}, transformers {transformers.__version__}; ", end=""
    )
    print(f"{args.model} in {args.dtype}, batches of {args.clips}\n")
    for name, lalm in lalms.items():
        print(f"{name}, first time: {time_passes(lalm):.1f} s")
    times: dict[str, list[float]] = {name: [] for name in lalms}
    for _ in range(args.rounds):
        for name, lalm in lalms.items():
            times[name].append(time_passes(lalm))
    ratio = statistics.median(a / b for a, b in zip(times["uncompiled"], times["compiled"], strict=True))
    print(f"then: {', '.join(f'{name} {statistics.median(t):.2f} s' for name, t in times.items())}; {ratio:.2f} ×")


if __name__ == "__main__":
    main()
