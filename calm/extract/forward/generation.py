"""Answers that a model generates, with what its heads write for every token of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calm.extract.forward.recorder import HeadRecorder
from calm.extract.models.lalm import LALM

#: Ways of generating in which the decoder reads tokens that are then taken back, or in another order.
_NOT_ONE_BY_ONE = ("assistant_model", "prompt_lookup_num_tokens", "penalty_alpha")


@dataclass(frozen=True)
class Generation:
    """Answers, and head vectors along them."""

    tokens: torch.Tensor  #: (answers, new tokens) ids, filled up with padding after the end of each answer
    prompt: torch.Tensor  #: (answers, layers, heads, dim) vectors of the last prompt tokens
    heads: torch.Tensor  #: (answers, steps, layers, heads, dim) vectors of generated tokens
    steps: list[int]  #: which of the new tokens those are, counted from 0
    answered: torch.Tensor  #: (answers, steps) whether the token belongs to the answer, its end included


@torch.inference_mode()
def record_generation(
    lalm: LALM,
    inputs: Mapping[str, Any],
    *,
    every: int = 1,
    tokens: int = 1,
    layers: Sequence[int] | None = None,
    **how: Any,
) -> Generation:
    """Let a model answer, and record the head vectors of the prompt's end and of every k-th token of the answer.

    Each vector equals that of one forward pass over the prompt and the answer, but for rounding.

    Parameters
    ----------
    lalm : LALM
    inputs : mapping
        What :meth:`calm.extract.LALM.inputs` made of clips and rendered prompts, **padded on the left**, so that
        answers follow right after the prompt.
    every : int, default=1
        Record the first generated token and every k-th after it.
    tokens, layers
        As :class:`calm.extract.HeadRecorder` takes them.
    **how
        As ``generate`` of transformers takes it: ``max_new_tokens``, ``do_sample``, ``num_return_sequences`` …

    Returns
    -------
    Generation
        With ``num_return_sequences``, the answers to each clip stand one after the other. The last token of an answer
        is never read by the model, and so has no vectors.

    Raises
    ------
    ValueError
        If prompts are padded on the right, or tokens would not be generated one by one (beams, assistants).

    See Also
    --------
    calm.extract.HeadRecorder : Records whatever a model is run for.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny")
    >>> prompt = lalm.builder.chat("What is this?")
    >>> inputs = lalm.inputs([np.zeros(16000, dtype=np.float32)], [prompt], padding_side="left")
    >>> answer = record_generation(lalm, inputs, every=4, do_sample=False, min_new_tokens=9, max_new_tokens=9)
    >>> answer.tokens.shape, answer.heads.shape, answer.steps
    (torch.Size([1, 9]), torch.Size([1, 2, 6, 8, 32]), [0, 4])
    """
    mask = inputs["attention_mask"]
    if not bool(mask[:, -1].all()):
        raise ValueError("prompts are padded on the right: answers must follow right after them, so pad on the left")
    settings, further = _settings(lalm, how)
    with HeadRecorder(lalm.heads, mask, tokens=tokens, layers=layers, every=every) as recorder:
        sequences = lalm.model_for(inputs).generate(**inputs, generation_config=settings, use_cache=True, **further)
    new = sequences[:, mask.shape[1] :]
    if recorder.read != mask.shape[1] + new.shape[1] - 1 or len(recorder.prompt) != len(new):
        raise RuntimeError(f"the decoder read {recorder.read} tokens, which are not the prompt's and the answer's")
    answered = _before_end(new, settings.eos_token_id)[:, recorder.steps]
    return Generation(new, recorder.prompt, recorder.generated, recorder.steps, answered)


def _settings(lalm: LALM, how: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the generation config in effect, and what ``generate`` is told besides.

    It is the model's own, changed by the one that is given, if any, and by single settings.

    Raises
    ------
    ValueError
        If tokens would not be generated one by one.
    """
    further = dict(how)
    settings = copy.deepcopy(lalm.model.generation_config)
    given = further.pop("generation_config", None)
    if given is not None:
        settings.update(**{name: value for name, value in given.to_dict().items() if value is not None})
    further = settings.update(**further)  # what is no setting, such as an assistant model, is left
    one_by_one = all(further.get(name, getattr(settings, name, None)) is None for name in _NOT_ONE_BY_ONE)
    if (settings.num_beams or 1) > 1 or not one_by_one:
        raise ValueError("head vectors are recorded of tokens that are generated one by one: no beams, no assistant")
    settings.return_dict_in_generate, settings.disable_compile = False, True
    return settings, further


def _before_end(tokens: torch.Tensor, ends: int | Sequence[int] | None) -> torch.Tensor:
    """Tell which tokens belong to an answer: all up to the first that ends it, which is included."""
    if ends is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    is_end = torch.isin(tokens, torch.as_tensor(ends, device=tokens.device)).int()
    ends_before = is_end.cumsum(dim=1) - is_end
    return ends_before == 0
