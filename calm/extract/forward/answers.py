"""Log likelihoods of candidate answers, the basis of zero-shot classification."""

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

    The prompts and their clips go through the model once. Each answer continues from a copy of the resulting KV cache.
    An answer of one token needs no second forward pass. The mean over tokens, instead of the sum, avoids a penalty on
    long answers.

    Parameters
    ----------
    lalm : LALM
        Model, from :func:`calm.extract.load_lalm`.
    inputs : mapping of str to tensor
        Model inputs of ``n_clips`` clips and their prompts, from :meth:`calm.extract.LALM.inputs` with
        ``padding_side="left"``, so that answers directly follow the prompt.
    answers : sequence of str
        Candidate answers, as the model would write them.

    Returns
    -------
    tensor of shape (n_clips, n_answers)
        Mean log likelihood in nats per token, float32, on the CPU. Its ``exp`` is the geometric mean of the token
        probabilities.

    Raises
    ------
    ValueError
        If ``answers`` is empty, an answer has no tokens, or the prompts are padded on the right.

    See Also
    --------
    calm.zero_shot : Classify clips by the likelihood of each label.
    calm.extract.record_generation : Generate answers and record their head vectors.

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
    answer_tokens = [_tokenize_answer(lalm, answer) for answer in answers]
    if not answer_tokens:
        raise ValueError("no answers given: pass at least one answer")
    mask = inputs["attention_mask"]
    if not bool(mask[:, -1].all()):
        raise ValueError('prompts are padded on the right: build the inputs with padding_side="left"')
    with lalm.heads.lock:  # one thread at a time runs the model
        with _compute_last_logits_only(lalm.model), _record_position_ids(lalm.model) as position_ids:
            prompt_pass = lalm.model_for(inputs)(**inputs, use_cache=True)
        first_log_probs = prompt_pass.logits[:, -1].float().log_softmax(dim=-1)
        scores = [
            _score_answer(lalm, first_log_probs, prompt_pass.past_key_values, position_ids, mask, tokens)
            for tokens in answer_tokens
        ]
    return torch.stack(scores, dim=1).cpu()


def _score_answer(
    lalm: LALM,
    first_log_probs: torch.Tensor,
    prompt_cache: Any,
    position_ids: Sequence[torch.Tensor],
    mask: torch.Tensor,
    tokens: list[int],
) -> torch.Tensor:
    """Return the mean log likelihood of one answer's tokens after each prompt, of shape ``(n_clips,)``.

    The last token goes through the model too, although its output is not used. Recurrent layers (Mamba) compute a
    single token by another algorithm than a sequence, so leaving it out would change the score.
    """
    total = first_log_probs[:, tokens[0]]
    if len(tokens) > 1:
        ids = torch.tensor([tokens], device=mask.device).expand(len(mask), -1)
        full_mask = torch.cat([mask, mask.new_ones(ids.shape)], dim=1)
        continued_positions: dict[str, torch.Tensor] = {}
        if position_ids:  # the model computed them from the prompt: count on from the last one
            steps = torch.arange(1, len(tokens) + 1, device=mask.device)
            continued_positions["position_ids"] = position_ids[0][..., -1:] + steps
        output = lalm.model(
            input_ids=ids,
            attention_mask=full_mask,
            **continued_positions,
            past_key_values=copy.deepcopy(prompt_cache),  # a forward pass writes into its KV cache
            use_cache=True,
        )
        log_probs = output.logits[:, :-1].float().log_softmax(dim=-1)
        targets = torch.tensor(tokens[1:], device=mask.device).expand(len(mask), -1)
        total = total + log_probs.gather(-1, targets[..., None])[..., 0].sum(dim=1)
    return total / len(tokens)


@contextlib.contextmanager
def _record_position_ids(model: Any) -> Iterator[list[torch.Tensor]]:
    """Record the position ids that the decoder receives; the list stays empty if the decoder counts by itself."""
    recorded: list[torch.Tensor] = []

    def record(_: Any, __: Any, kwargs: Mapping[str, Any]) -> None:
        if kwargs.get("position_ids") is not None:
            recorded.append(kwargs["position_ids"])

    hook = model.get_decoder().register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield recorded
    finally:
        hook.remove()


@contextlib.contextmanager
def _compute_last_logits_only(model: Any) -> Iterator[None]:
    """Pass only the last position to the language-model head: logits of all positions would fill a GPU's memory."""
    lm_head = model.get_output_embeddings() or model.get_decoder().get_output_embeddings()
    hook = lm_head.register_forward_pre_hook(lambda _, args: (args[0][:, -1:], *args[1:]))
    try:
        yield
    finally:
        hook.remove()


def _tokenize_answer(lalm: LALM, answer: str) -> list[int]:
    """Return the token ids of an answer, without special tokens."""
    tokens = lalm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
    if not tokens:
        raise ValueError(f"the answer {answer!r} has no tokens: give a non-empty text")
    return list(tokens)
