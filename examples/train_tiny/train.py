"""Train a small Qwen2-Audio to describe synthesized sound.

    python examples/train_tiny/train.py OUT --steps 5000

Writes ``OUT/model``, a checkpoint that ``calm extract --model OUT/model`` takes; ``OUT/log.jsonl``, the learning curve;
and ``OUT/state.pt``, from which the same command goes on after an interruption. A GPU is used if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batches import Batches, Edges, Examples
from lessons import all_text, level_edges, make_example
from model import SHORT, WINDOW, build, initialize, save, set_window, without_positions

from calm.extract import LALM
from calm.extract.tiny import learn_tokenizer

_MOST_TOKENS = 2048
_LEVEL_CLIPS = 600  #: clips by which levels are told apart
_WARM_UP = 200
_LATER = 0.5  #: weight of the words after the first
_EVERY = 50  #: steps between lines of the log
_SAVED = 500  #: steps between states


def losses(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the loss of the first word, above what is least possible, and of the later ones, in nats.

    A description may begin with any of its words, so the last token of the question has to know them all.
    """
    frames = torch.ones(batch["features"].shape[::2], dtype=torch.long, device=batch["ids"].device)
    hidden = model.model(
        input_ids=batch["ids"],
        attention_mask=batch["mask"],
        input_features=batch["features"],
        feature_attention_mask=frames,
        use_cache=False,
    ).last_hidden_state
    said = model.lm_head(hidden[torch.arange(len(hidden)), batch["starts"]]).log_softmax(-1)
    first = torch.nn.functional.kl_div(said, batch["first"], reduction="batchmean")
    asked = batch["labels"][:, 1:] != -100
    later = torch.nn.functional.cross_entropy(model.lm_head(hidden[:, :-1][asked]), batch["labels"][:, 1:][asked])
    return first, later


def rate_at(step: int, steps: int, most: float) -> float:
    """Return the learning rate: up for a while, then down by half a cosine to a hundredth."""
    return most * min(1.0, (step + 1) / _WARM_UP) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / steps)))


def train(args: argparse.Namespace, edges: Edges, makers: Any) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    tokenizer = learn_tokenizer(all_text(), _MOST_TOKENS)
    model, processor = build(tokenizer, SHORT)
    initialize(model)
    model.to(device).train()
    batches = Batches(tokenizer, LALM("tiny", model, processor).chat, device)
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learnt if p.ndim >= 2], "weight_decay": 0.05},
        {"params": [p for p in learnt if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98))
    step, rng, state = 0, np.random.default_rng(args.seed), args.out / "state.pt"
    if state.exists():
        found = torch.load(state, weights_only=False, map_location=device)
        model.load_state_dict(found["model"], strict=False)
        optimizer.load_state_dict(found["optimizer"])
        step, rng = found["step"], found["rng"]
    print(
        f"{sum(p.numel() for p in learnt) / 1e6:.1f} M parameters, {len(tokenizer)} tokens, from step {step}",
        flush=True,
    )
    begun, sums = time.time(), np.zeros(2)
    examples: Examples | None = None
    while step < args.steps:
        seconds = WINDOW if step >= args.long_from * args.steps else SHORT
        if examples is None or examples.seconds != seconds:
            set_window(model, seconds)
            examples = Examples(makers, (args.seed, seconds, step), seconds, edges)
        batch = batches.of(rng, *examples.draw(rng, args.batch))
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, args.steps, args.rate)
        first, later = losses(model, batch)
        optimizer.zero_grad()
        (first + _LATER * later).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        step += 1
        sums += [first.item(), later.item()]
        if step % _EVERY == 0:
            told = {"step": step, "seconds": round(time.time() - begun), "first": round(sums[0] / _EVERY, 4),
                    "later": round(sums[1] / _EVERY, 4), "examples": examples.made, "window": seconds}  # fmt: skip
            sums[:] = 0
            print(json.dumps(told), flush=True)
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(told) + "\n")
        if step % _SAVED == 0 or step == args.steps:
            part = state.with_suffix(".part")
            kept = {"model": without_positions(model.state_dict()), "optimizer": optimizer.state_dict()}
            torch.save(kept | {"step": step, "rng": rng}, part)
            part.replace(state)
    save(model, tokenizer, args.out / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="the largest learning rate")
    parser.add_argument(
        "--long-from", type=float, default=0.9, help="share of the steps after which clips are 5 s long"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True, parents=True)
    waves = [make_example(np.random.default_rng((7, i)), SHORT).wave for i in range(_LEVEL_CLIPS)]
    with torch.multiprocessing.get_context("spawn").Pool(os.cpu_count()) as makers:
        train(args, level_edges(waves), makers)


if __name__ == "__main__":
    main()
