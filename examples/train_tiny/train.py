"""
Train a small Qwen2-Audio on synthesized sounds
===============================================

Training has two stages. First the encoder is trained alone; then the whole model is trained to answer questions. The
script writes ``OUT/model``, a checkpoint for ``calm extract --model OUT/model``; ``OUT/log.jsonl``, the learning curve;
and ``OUT/state.pt``, from which the same command resumes after an interruption. A GPU is used if there is one.

Run it with ``python examples/train_tiny/train.py OUT``.
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
from batches import BatchBuilder, ExampleOptions, ExamplePool, LevelEdges
from lessons import PARTS, find_level_edges, list_tokenizer_texts, make_example
from losses import answer_losses, encoder_loss
from model import (
    SHORT_SECONDS,
    WINDOW_SECONDS,
    TrainableModel,
    initialize_weights,
    save_checkpoint,
    set_window,
    train_tokenizer,
)

from calm.extract import LALM
from calm.sounds import TRAINING_SOURCES

_MAX_TOKENS = 2048
_LEVEL_CLIPS = 600  #: clips from which the edges between levels are found
_WARM_UP_STEPS = 100
_ENCODER_FACTOR = 0.3  #: factor of the learning rate of the encoder at the start of the second stage
_LOG_EVERY = 50  #: steps
_SAVE_EVERY = 250  #: steps


class Training:
    """A model with its optimizer, training data and current step."""

    def __init__(self, args: argparse.Namespace, edges: LevelEdges, workers: Any) -> None:
        self.args, self.edges, self.workers = args, edges, workers
        self.pools: dict[int, ExamplePool] = {}  # by clip length in seconds
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(args.seed)
        self.tokenizer = train_tokenizer(list_tokenizer_texts(), _MAX_TOKENS)
        self.trained = TrainableModel(self.tokenizer, SHORT_SECONDS, args.width)
        initialize_weights(self.trained)
        self.trained.to(self.device).train()
        chat = LALM("tiny", self.trained.lalm, self.trained.processor).builder.chat
        self.batches = BatchBuilder(self.tokenizer, chat, self.device, frozenset(args.without))
        self.optimizer = torch.optim.AdamW(self._make_parameter_groups(), betas=(0.9, 0.98))
        self.window = SHORT_SECONDS
        self.step, self.rng = 0, np.random.default_rng(args.seed)
        self.last_step = args.hear_steps + args.steps
        self.state_file = args.out / "state.pt"
        if self.state_file.exists():
            self._resume()

    def run(self) -> None:
        """Take all remaining steps, and save the model."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        print(f"{sum(p.numel() for p in parameters) / 1e6:.1f} M parameters, {len(self.tokenizer)} tokens", flush=True)
        start, recent_losses = time.time(), []
        while self.step < self.last_step:
            pool = self._select_pool()
            losses = self._take_step(pool, parameters)
            recent_losses.append({name: loss.item() for name, loss in losses.items()})
            self.step += 1
            if self.step % _LOG_EVERY == 0:
                progress = {"seconds": round(time.time() - start), "made": pool.made, "window": pool.options.seconds}
                self._log(_average(recent_losses) | progress)
                recent_losses = []
            if self.step % _SAVE_EVERY == 0 or self.step == self.last_step:
                self._save_state()
        save_checkpoint(self.trained.lalm, self.tokenizer, self.args.out / "model", self.args.width)

    def _take_step(self, pool: ExamplePool, parameters: list[torch.nn.Parameter]) -> dict[str, torch.Tensor]:
        """Draw a batch, update the parameters, and return the losses."""
        batch = self.batches.build(self.rng, *pool.draw(self.rng, self.args.batch))
        for group in self.optimizer.param_groups:
            rate = self.args.hear_rate if group["hears"] else self.args.rate
            group["lr"] = rate * self._compute_rate_factor(group["hears"])
        trained = self.trained
        losses = {"heard": encoder_loss(trained, batch)} if self._is_first_stage() else answer_losses(trained, batch)
        self.optimizer.zero_grad()
        sum(losses.values(), torch.zeros((), device=self.device)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        return losses

    def _make_parameter_groups(self) -> list[dict[str, Any]]:
        """Group parameters by encoder or decoder, and by whether they have weight decay.

        ``hears`` marks the groups of the encoder; ``state.pt`` stores this name.
        """
        parameters = [(n, p) for n, p in self.trained.named_parameters() if p.requires_grad]
        return [
            {
                "params": [
                    p
                    for n, p in parameters
                    if self.trained.is_encoder_weight(n) == is_encoder and (p.ndim >= 2) == is_matrix
                ],
                "hears": is_encoder,
                "weight_decay": 0.05 * is_matrix,
            }
            for is_encoder in (True, False)
            for is_matrix in (True, False)
        ]

    def _compute_rate_factor(self, is_encoder: bool) -> float:
        """Return the factor of the learning rate: linear warm-up and cosine decay, for the encoder in each stage."""
        if self._is_first_stage():
            highest, lowest = 1.0, _ENCODER_FACTOR
        else:
            highest, lowest = (_ENCODER_FACTOR if is_encoder else 1.0), 0.01
        steps_trained = self.step + 1 - (0 if is_encoder else self.args.hear_steps)
        warm_up = min(1.0, max(0, steps_trained) / _WARM_UP_STEPS)
        return warm_up * (lowest + (highest - lowest) * 0.5 * (1 + np.cos(np.pi * self._compute_stage_progress())))

    def _is_first_stage(self) -> bool:
        """Return whether the encoder is trained alone at the current step."""
        return bool(self.step < self.args.hear_steps)

    def _compute_stage_progress(self) -> float:
        """Return the share of the current stage that is done, between 0 and 1."""
        if self._is_first_stage():
            return float(self.step / self.args.hear_steps)
        return float((self.step - self.args.hear_steps) / self.args.steps)

    def _select_pool(self) -> ExamplePool:
        """Return the examples of the current step: short clips, and long ones at the end of each stage."""
        seconds = WINDOW_SECONDS if self._compute_stage_progress() >= self.args.long_from else SHORT_SECONDS
        if seconds != self.window:
            set_window(self.trained.lalm, seconds)
            self.window = seconds
        if seconds not in self.pools:
            sources = np.random.default_rng(0).permutation(TRAINING_SOURCES)[: self.args.sources]
            options = ExampleOptions(seconds, self.edges, tuple(sources.tolist()))
            seed = (self.args.seed, seconds, self.step)
            self.pools[seconds] = ExamplePool(self.workers, seed, options, self.args.uses)
        return self.pools[seconds]

    def _log(self, values: dict[str, float]) -> None:
        line = json.dumps({"step": self.step} | values)
        with (self.args.out / "log.jsonl").open("a") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def _save_state(self) -> None:
        """Write the state to a temporary file, and replace the old one."""
        temporary = self.state_file.with_suffix(".part")
        state = {"listener": self.trained.trained_state(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"step": self.step, "rng": self.rng}, temporary)
        temporary.replace(self.state_file)

    def _resume(self) -> None:
        state = torch.load(self.state_file, weights_only=False, map_location=self.device)
        self.trained.load_state_dict(state["listener"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.rng = state["step"], state["rng"]
        print(f"resuming from step {self.step}", flush=True)


def _average(losses: list[dict[str, float]]) -> dict[str, float]:
    """Average each loss of the latest step over all steps that have it."""
    return {name: round(float(np.mean([step[name] for step in losses if name in step])), 4) for name in losses[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--hear-steps", type=int, default=4000, help="steps of the first stage (encoder alone)")
    parser.add_argument("--steps", type=int, default=1800, help="steps of the second stage (whole model)")
    parser.add_argument("--batch", type=int, default=32, help="clips per step")
    parser.add_argument("--hear-rate", type=float, default=2e-3, help="largest learning rate of the encoder")
    parser.add_argument("--rate", type=float, default=1e-3, help="largest learning rate of all other weights")
    parser.add_argument("--uses", type=int, default=4, help="number of times that each clip is used")
    parser.add_argument("--long-from", type=float, default=0.92, help="share of a stage after which clips are 5 s long")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data")
    parser.add_argument("--without", nargs="+", choices=PARTS, default=[], help="parts of the lessons to leave out")
    parser.add_argument("--sources", type=int, default=len(TRAINING_SOURCES), help="number of sources to train on")
    parser.add_argument("--width", type=float, default=1.0, help="factor of all hidden sizes")
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True, parents=True)
    waves = [make_example(np.random.default_rng((7, i)), SHORT_SECONDS).wave for i in range(_LEVEL_CLIPS)]
    with torch.multiprocessing.get_context("spawn").Pool(os.cpu_count()) as workers:
        Training(args, find_level_edges(waves), workers).run()


if __name__ == "__main__":
    main()
