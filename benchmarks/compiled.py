"""Whether torch.compile pays: the same model compiled and not, in turn, on batches of several lengths.

Compiled are the blocks of the decoder beside its attention, in which head vectors are recorded, and the layers of the
encoder.

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
    sides = {name: build(args.model, args.device, getattr(torch, args.dtype)) for name in ("as it is", "compiled")}
    compile_blocks(sides["compiled"])
    rng, any_lalm = np.random.default_rng(0), sides["as it is"]
    chats = [any_lalm.builder.chat("What is it?")] * args.clips
    lengths = [int(seconds * any_lalm.builder.sampling_rate) for seconds in SECONDS]
    noise = [0.1 * rng.standard_normal((args.clips, samples), dtype=np.float32) for samples in lengths]
    batches = [any_lalm.builder.prepare(list(waves), chats, full_window=False) for waves in noise]

    def pass_over(lalm: LALM) -> float:
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
    for name, lalm in sides.items():
        print(f"{name}, first time: {pass_over(lalm):.1f} s")
    took: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, lalm in sides.items():
            took[name].append(pass_over(lalm))
    ratio = statistics.median(a / b for a, b in zip(took["as it is"], took["compiled"], strict=True))
    print(f"then: {', '.join(f'{name} {statistics.median(t):.2f} s' for name, t in took.items())}; {ratio:.2f} ×")


if __name__ == "__main__":
    main()
