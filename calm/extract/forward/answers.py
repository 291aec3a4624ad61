"""How likely a model is to answer with each of some texts: what zero-shot classification rests on."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from calm.extract.models.lalm import LALM


@torch.inference_mode()
def answer_log_likelihoods(lalm: LALM, inputs: Mapping[str, Any], answers: Sequence[str]) -> torch.Tensor:
    """Compute the mean log likelihood of each answer's tokens after each prompt.

    The prompts, with their clips, go through the model once; answers are continued from what it keeps of them. An
    answer of one token costs nothing more. The mean over tokens keeps long answers from being unlikely for their
    length.

    Parameters
    ----------
    lalm : LALM
    inputs : mapping
        What :meth:`calm.extract.LALM.inputs` made of clips and rendered prompts, **padded on the left**, so that
        answers follow right after the prompt.
    answers : sequence of str

    Returns
    -------
    float32 tensor (clips, answers), on the CPU
        In nats a token; ``exp`` of it is the geometric mean of the tokens' probabilities.

    Raises
    ------
    ValueError
        If there is no answer, or one that has no tokens, or prompts are padded on the right.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny")
    >>> prompt = lalm.builder.chat("What is this?")
    >>> inputs = lalm.inputs([np.zeros(16000, dtype=np.float32)], [prompt], padding_side="left")
    >>> answer_log_likelihoods(lalm, inputs, ["dog", "rain"]).shape
    torch.Size([1, 2])
    """
    tokens = [_tokens_of(lalm, answer) for answer in answers]
    if not tokens:
        raise ValueError("there are no answers to choose from")
    mask = inputs["attention_mask"]
    if not bool(mask[:, -1].all()):
        raise ValueError("prompts are padded on the right: answers must follow right after them, so pad on the left")
    with lalm.heads.lock:  # threads take turns on one model
        with _last_position_only(lalm.model), _positions(lalm.model) as positions:
            prefix = lalm.model_for(inputs)(**inputs, use_cache=True)
        first = prefix.logits[:, -1].float().log_softmax(dim=-1)
        found = [_continued(lalm, first, prefix.past_key_values, positions, mask, answer) for answer in tokens]
    return torch.stack(found, dim=1).cpu()


def _continued(
    lalm: LALM,
    first: torch.Tensor,
    past: Any,
    positions: Sequence[torch.Tensor],
    mask: torch.Tensor,
    answer: list[int],
) -> torch.Tensor:
    """Return the mean log likelihood of one answer's tokens after every prompt, ``(clips,)``.

    The last token goes in too, though nothing is asked of what follows it: recurrent layers (Mamba) take a token on
    its own by other rules than a sequence, and would score it otherwise.
    """
    total = first[:, answer[0]]
    if len(answer) > 1:
        ids = torch.tensor([answer], device=mask.device).expand(len(mask), -1)
        whole = torch.cat([mask, mask.new_ones(ids.shape)], dim=1)
        here: dict[str, torch.Tensor] = {}
        if positions:  # the model worked them out of the prompt: they go on from there
            here["position_ids"] = positions[0][..., -1:] + torch.arange(1, len(answer) + 1, device=mask.device)
        out = lalm.model(
            input_ids=ids,
            attention_mask=whole,
            **here,
            past_key_values=copy.deepcopy(past),  # a pass writes into what it continues from
            use_cache=True,
        )
        later = out.logits[:, :-1].float().log_softmax(dim=-1)
        wanted = torch.tensor(answer[1:], device=mask.device).expand(len(mask), -1)
        total = total + later.gather(-1, wanted[..., None])[..., 0].sum(dim=1)
    return total / len(answer)


@contextlib.contextmanager
def _positions(model: Any) -> Iterator[list[torch.Tensor]]:
    """Note the position ids that the decoder is given; none where it is left to count tokens itself."""
    given: list[torch.Tensor] = []

    def note(_: Any, __: Any, kwargs: Mapping[str, Any]) -> None:
        if kwargs.get("position_ids") is not None:
            given.append(kwargs["position_ids"])

    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield given
    finally:
        hook.remove()


@contextlib.contextmanager
def _last_position_only(model: Any) -> Iterator[None]:
    """Let the language-model head see the last position only: scores of a vocabulary at every one would fill a GPU."""
    head = model.get_output_embeddings() or model.get_decoder().get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, args: (args[0][:, -1:], *args[1:]))
    try:
        yield
    finally:
        hook.remove()


def _tokens_of(lalm: LALM, answer: str) -> list[int]:
    tokens = lalm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
    if not tokens:
        raise ValueError(f"the answer {answer!r} has no tokens")
    return list(tokens)
