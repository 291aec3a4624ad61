"""What is to be made small: how far what is heard and said is from what is true."""

from __future__ import annotations

import torch
from model import Listener

_EACH_LAYER = 0.5  #: weight of what the earlier layers would say
_LATER = 0.3  #: weight of the words after the first
_HEARD = 0.3  #: weight of what the encoder hears, once the whole learns


def heard_loss(listener: Listener, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Compute the loss of what the encoder's mean over time says of a clip, above what is least possible, in nats."""
    return _above_least(
        listener.heard(listener.lalm.model.audio_tower(batch["features"]).last_hidden_state), batch["heard"]
    )


def spoken_losses(listener: Listener, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Compute the losses of answers, in nats: the first word, the first word by every layer, the later words.

    A description may begin with any of its words, so the last token of the question has to know them all, and to know
    them early, as every layer's state there is read as if it were the last.
    """
    model = listener.lalm
    frames = torch.ones(batch["features"].shape[::2], dtype=torch.long, device=batch["ids"].device)
    kept: list[torch.Tensor] = []
    hook = model.model.audio_tower.register_forward_hook(lambda *call: kept.append(call[2].last_hidden_state))
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
    states = torch.stack([state[rows, batch["starts"]] for state in out.hidden_states[1:-1]])
    last = out.last_hidden_state
    early = model.lm_head(model.model.language_model.norm(states))
    asked = batch["labels"][:, 1:] != -100
    later = torch.nn.functional.cross_entropy(model.lm_head(last[:, :-1][asked]), batch["labels"][:, 1:][asked])
    return {
        "first": _above_least(model.lm_head(last[rows, batch["starts"]]), batch["first"]),
        "each": _EACH_LAYER * _above_least(early.flatten(0, 1), batch["first"].repeat(len(states), 1)),
        "later": _LATER * later,
        "heard": _HEARD * _above_least(listener.heard(kept[0]), batch["heard"]),
    }


def _above_least(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.kl_div(logits.log_softmax(-1), true, reduction="batchmean")
