"""
Losses of the two training stages
=================================

Both stages compare the predicted distribution of words with the true one, by the Kullback-Leibler divergence in nats.
It is zero for a perfect prediction.
"""

from __future__ import annotations

import torch
from model import TrainableModel

_EARLIER_LAYERS_WEIGHT = 0.5  #: of the first word, predicted from earlier decoder layers
_LATER_WORDS_WEIGHT = 0.3  #: of the words after the first
_ENCODER_WEIGHT = 0.3  #: of the encoder loss in the second stage


def encoder_loss(trained: TrainableModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Compute the loss of the first stage: true words predicted from the mean of the encoder states over time."""
    encoder_states = trained.lalm.model.audio_tower(batch["features"]).last_hidden_state
    return _kl_divergence(trained.score_words(encoder_states), batch["description"])


def answer_losses(trained: TrainableModel, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Compute the weighted losses of the second stage.

    A description may begin with any of its words, so the last prompt token must encode all of them. Deep supervision
    makes every layer encode them: the states of earlier layers are decoded like those of the last.

    Returns
    -------
    dict of Tensor
        ``first``, the first word; ``each``, the first word predicted from each earlier layer; ``later``, the
        words after the first; ``heard``, the loss of the encoder. The names are columns of ``log.jsonl``.
    """
    model = trained.lalm
    frames = torch.ones(batch["features"].shape[::2], dtype=torch.long, device=batch["ids"].device)
    encoder_states: list[torch.Tensor] = []
    hook = model.model.audio_tower.register_forward_hook(lambda *call: encoder_states.append(call[2].last_hidden_state))
    try:
        out = model.model(
            input_ids=batch["ids"],
            attention_mask=batch["mask"],
            input_features=batch["features"],
            feature_attention_mask=frames,
            use_cache=False,
            output_hidden_states=True,
        )
    finally:
        hook.remove()
    rows = torch.arange(len(batch["ids"]))
    earlier_states = torch.stack([state[rows, batch["prompt_end"]] for state in out.hidden_states[1:-1]])
    last_states = out.last_hidden_state
    earlier_logits = model.lm_head(model.model.language_model.norm(earlier_states))
    is_answer = batch["labels"][:, 1:] != -100
    later = torch.nn.functional.cross_entropy(
        model.lm_head(last_states[:, :-1][is_answer]), batch["labels"][:, 1:][is_answer]
    )
    earlier_targets = batch["first_word"].repeat(len(earlier_states), 1)
    return {
        "first": _kl_divergence(model.lm_head(last_states[rows, batch["prompt_end"]]), batch["first_word"]),
        "each": _EARLIER_LAYERS_WEIGHT * _kl_divergence(earlier_logits.flatten(0, 1), earlier_targets),
        "later": _LATER_WORDS_WEIGHT * later,
        "heard": _ENCODER_WEIGHT * _kl_divergence(trained.score_words(encoder_states[0]), batch["description"]),
    }


def _kl_divergence(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.kl_div(logits.log_softmax(-1), target, reduction="batchmean")
