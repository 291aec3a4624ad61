"""Train a small Qwen2-Audio to describe synthesized sound.

    python examples/train_tiny/train.py OUT

First the encoder learns to hear, alone, as those of large models do; then the whole learns to answer questions.
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
from batches import Batches, Edges, Examples, Making
from lessons import PARTS, all_text, level_edges, make_example
from losses import heard_loss, spoken_losses
from model import SHORT, WINDOW, Listener, initialize, learn_tokenizer, save, set_window

from calm.extract import LALM
from calm.sounds import TRAINING_SOURCES

_MOST_TOKENS = 2048
_LEVEL_CLIPS = 600  #: clips by which levels are told apart
_WARM_UP = 100
_SECOND = 0.3  #: share of its rate that the encoder keeps when the whole learns
_EVERY = 50  #: steps between lines of the log
_SAVED = 250  #: steps between states


class Training:
    """A model, its optimizer, and how far it is."""

    def __init__(self, args: argparse.Namespace, edges: Edges, makers: Any) -> None:
        self.args, self.edges, self.makers = args, edges, makers
        self.examples: dict[int, Examples] = {}  # by length of the clips
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(args.seed)
        self.tokenizer = learn_tokenizer(all_text(), _MOST_TOKENS)
        self.listener = Listener(self.tokenizer, SHORT, args.width)
        initialize(self.listener)
        self.listener.to(self.device).train()
        chat = LALM("tiny", self.listener.lalm, self.listener.processor).builder.chat
        self.batches = Batches(self.tokenizer, chat, self.device, frozenset(args.without))
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.98))
        self.window = SHORT
        self.step, self.rng = 0, np.random.default_rng(args.seed)
        self.last = args.hear_steps + args.steps
        self.state = args.out / "state.pt"
        if self.state.exists():
            self._go_on()

    def run(self) -> None:
        """Take every step that is left, and save the model."""
        learnt = [p for group in self.optimizer.param_groups for p in group["params"]]
        print(f"{sum(p.numel() for p in learnt) / 1e6:.1f} M parameters, {len(self.tokenizer)} tokens", flush=True)
        begun, told = time.time(), []
        while self.step < self.last:
            examples = self._examples()
            losses = self._learn(examples, learnt)
            told.append({name: loss.item() for name, loss in losses.items()})
            self.step += 1
            if self.step % _EVERY == 0:
                means = {name: round(float(np.mean([t[name] for t in told if name in t])), 4) for name in told[-1]}
                self._tell(
                    means
                    | {"seconds": round(time.time() - begun), "made": examples.made, "window": examples.making.seconds}
                )
                told = []
            if self.step % _SAVED == 0 or self.step == self.last:
                self._save_state()
        save(self.listener.lalm, self.tokenizer, self.args.out / "model", self.args.width)

    def _learn(self, examples: Examples, learnt: list[torch.nn.Parameter]) -> dict[str, torch.Tensor]:
        batch = self.batches.of(self.rng, *examples.draw(self.rng, self.args.batch))
        for group in self.optimizer.param_groups:
            rate = self.args.hear_rate if group["hears"] else self.args.rate
            group["lr"] = rate * self._share(group["hears"])
        listener = self.listener
        losses = {"heard": heard_loss(listener, batch)} if self._alone() else spoken_losses(listener, batch)
        self.optimizer.zero_grad()
        sum(losses.values(), torch.zeros((), device=self.device)).backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        self.optimizer.step()
        return losses

    def _groups(self) -> list[dict[str, Any]]:
        """Split what is learnt by whether it hears or speaks, and by whether it decays."""
        learnt = [(n, p) for n, p in self.listener.named_parameters() if p.requires_grad]
        return [
            {
                "params": [p for n, p in learnt if self.listener.hears(n) == hears and (p.ndim >= 2) == matrix],
                "hears": hears,
                "weight_decay": 0.05 * matrix,
            }
            for hears in (True, False)
            for matrix in (True, False)
        ]

    def _share(self, hears: bool) -> float:
        """Return the share of the rate: up for a while, down by half a cosine; the encoder goes down twice."""
        most, least = (1.0, _SECOND) if self._alone() else (_SECOND if hears else 1.0, 0.01)
        learning_for = self.step + 1 - (0 if hears else self.args.hear_steps)
        warm = min(1.0, max(0, learning_for) / _WARM_UP)
        return warm * (least + (most - least) * 0.5 * (1 + np.cos(np.pi * self._done())))

    def _alone(self) -> bool:
        """Tell whether the encoder still learns alone."""
        return bool(self.step < self.args.hear_steps)

    def _done(self) -> float:
        """Return how much of the present part is done, between 0 and 1."""
        if self._alone():
            return float(self.step / self.args.hear_steps)
        return float((self.step - self.args.hear_steps) / self.args.steps)

    def _examples(self) -> Examples:
        """Return what is learnt from now: mostly short clips; long ones at the end of either part."""
        seconds = WINDOW if self._done() >= self.args.long_from else SHORT
        if seconds != self.window:
            set_window(self.listener.lalm, seconds)
            self.window = seconds
        if seconds not in self.examples:
            sources = np.random.default_rng(0).permutation(TRAINING_SOURCES)[: self.args.sources]
            making = Making(seconds, self.edges, tuple(sources.tolist()))
            seed = (self.args.seed, seconds, self.step)
            self.examples[seconds] = Examples(self.makers, seed, making, self.args.uses)
        return self.examples[seconds]

    def _tell(self, told: dict[str, float]) -> None:
        line = json.dumps({"step": self.step} | told)
        with (self.args.out / "log.jsonl").open("a") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def _save_state(self) -> None:
        part = self.state.with_suffix(".part")
        kept = {"listener": self.listener.learnt(), "optimizer": self.optimizer.state_dict()}
        torch.save(kept | {"step": self.step, "rng": self.rng}, part)
        part.replace(self.state)

    def _go_on(self) -> None:
        found = torch.load(self.state, weights_only=False, map_location=self.device)
        self.listener.load_state_dict(found["listener"], strict=False)
        self.optimizer.load_state_dict(found["optimizer"])
        self.step, self.rng = found["step"], found["rng"]
        print(f"going on from step {self.step}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hear-steps", type=int, default=4000, help="steps in which the encoder learns alone")
    parser.add_argument("--steps", type=int, default=1800, help="steps in which the whole learns")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hear-rate", type=float, default=2e-3, help="the encoder's largest learning rate")
    parser.add_argument("--rate", type=float, default=1e-3, help="that of all else")
    parser.add_argument("--uses", type=int, default=4, help="how often a clip is learnt from")
    parser.add_argument("--long-from", type=float, default=0.92, help="share after which clips are 5 s long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", nargs="+", choices=PARTS, default=[], help="what is not taught")
    parser.add_argument("--sources", type=int, default=len(TRAINING_SOURCES), help="how many sources are heard")
    parser.add_argument("--width", type=float, default=1.0, help="widths of all states, as a share of the usual")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True, parents=True)
    waves = [make_example(np.random.default_rng((7, i)), SHORT).wave for i in range(_LEVEL_CLIPS)]
    with torch.multiprocessing.get_context("spawn").Pool(os.cpu_count()) as makers:
        Training(args, level_edges(waves), makers).run()


if __name__ == "__main__":
    main()
