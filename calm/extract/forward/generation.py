"""Text generation that also records the head vectors of the prompt and of the generated tokens."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calm.extract.forward.recorder import HeadRecorder
from calm.extract.models.lalm import LALM

#: Arguments of ``generate`` with which the decoder also reads tokens that it later rejects or reorders.
_NOT_TOKEN_BY_TOKEN = ("assistant_model", "prompt_lookup_num_tokens", "penalty_alpha")


@dataclass(frozen=True)
class Generation:
    """Generated answers and the head vectors recorded along them.

    Parameters
    ----------
    tokens : int tensor of shape (n_answers, n_new_tokens)
        Token ids of the answers. Padding follows the end of each answer.
    prompt : tensor of shape (n_answers, n_layers, n_heads, head_dim)
        Head vectors of the last prompt tokens.
    heads : tensor of shape (n_answers, n_steps, n_layers, n_heads, head_dim)
        Head vectors of the recorded tokens.
    steps : list of int
        Indices of the recorded tokens among the new tokens, counted from 0.
    answered : bool tensor of shape (n_answers, n_steps)
        True if the recorded token belongs to the answer, including its end-of-sequence token.

    See Also
    --------
    calm.extract.record_generation : Generate answers and return an instance.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import load_lalm
    >>> lalm = load_lalm("tiny")
    >>> prompt = lalm.builder.chat("What is this?")
    >>> inputs = lalm.inputs([np.zeros(16000, dtype=np.float32)], [prompt], padding_side="left")
    >>> generation = record_generation(lalm, inputs, do_sample=False, min_new_tokens=4, max_new_tokens=4)
    >>> mean_over_answer = generation.heads[generation.answered].mean(dim=0)
    >>> mean_over_answer.shape
    torch.Size([6, 8, 32])
    """

    tokens: torch.Tensor
    prompt: torch.Tensor
    heads: torch.Tensor
    steps: list[int]
    answered: torch.Tensor


@torch.inference_mode()
def record_generation(
    lalm: LALM,
    inputs: Mapping[str, Any],
    *,
    every: int = 1,
    tokens: int = 1,
    layers: Sequence[int] | None = None,
    **generate_kwargs: Any,
) -> Generation:
    """Generate answers and record the head vectors of the prompt's end and of every k-th generated token.

    Each vector equals, up to rounding, that of one forward pass over the prompt and the answer.

    Parameters
    ----------
    lalm : LALM
        Model, from :func:`calm.extract.load_lalm`.
    inputs : mapping of str to tensor
        Model inputs of clips and their prompts, from :meth:`calm.extract.LALM.inputs` with ``padding_side="left"``, so
        that answers directly follow the prompt.
    every : int, default=1
        Record the first generated token and every ``every``-th token after it.
    tokens : int, default=1
        Number of last prompt tokens whose mean vector is recorded. 1 records the last token alone.
    layers : sequence of int, default=None
        Indices of the layers to record, in this order. None records all layers. For hybrid decoders, only layers with
        attention count.
    **generate_kwargs
        Arguments of ``generate`` in transformers, such as ``max_new_tokens``, ``do_sample`` or
        ``num_return_sequences``.

    Returns
    -------
    Generation
        Answers and head vectors. With ``num_return_sequences``, the answers to one clip follow each other. The model
        never reads the last token of an answer, so that token has no vectors.

    Raises
    ------
    ValueError
        If the prompts are padded on the right, or tokens are not generated one by one (beam search, assisted
        generation).

    See Also
    --------
    calm.extract.HeadRecorder : Record head vectors of any run of a model.
    calm.extract.answer_log_likelihoods : Score given answers instead of generating them.

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
        raise ValueError('prompts are padded on the right: build the inputs with padding_side="left"')
    config, model_kwargs = _generation_config(lalm, generate_kwargs)
    with HeadRecorder(lalm.heads, mask, tokens=tokens, layers=layers, every=every) as recorder:
        sequences = lalm.model_for(inputs).generate(**inputs, generation_config=config, use_cache=True, **model_kwargs)
    new_tokens = sequences[:, mask.shape[1] :]
    expected_read = mask.shape[1] + new_tokens.shape[1] - 1
    if recorder.read != expected_read or len(recorder.prompt) != len(new_tokens):
        raise RuntimeError(
            f"the decoder read {recorder.read} tokens of {len(recorder.prompt)} sequences, expected {expected_read} of "
            f"{len(new_tokens)}: head vectors cannot be recorded with these arguments of generate"
        )
    answered = _is_before_end(new_tokens, config.eos_token_id)[:, recorder.steps]
    return Generation(new_tokens, recorder.prompt, recorder.generated, recorder.steps, answered)


def _generation_config(lalm: LALM, generate_kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the effective generation config, and the arguments of ``generate`` that are not part of it.

    The user's generation config overrides the model's own, and single arguments override both.

    Raises
    ------
    ValueError
        If tokens would not be generated one by one.
    """
    remaining = dict(generate_kwargs)
    config = copy.deepcopy(lalm.model.generation_config)
    user_config = remaining.pop("generation_config", None)
    if user_config is not None:
        config.update(**{name: value for name, value in user_config.to_dict().items() if value is not None})
    remaining = config.update(**remaining)  # returns what is no setting, such as an assistant model
    token_by_token = all(remaining.get(name, getattr(config, name, None)) is None for name in _NOT_TOKEN_BY_TOKEN)
    if (config.num_beams or 1) > 1 or not token_by_token:
        raise ValueError(
            "head vectors can be recorded only of tokens that are generated one by one: "
            "use neither beam search nor assisted generation"
        )
    config.return_dict_in_generate, config.disable_compile = False, True
    return config, remaining


def _is_before_end(tokens: torch.Tensor, ends: int | Sequence[int] | None) -> torch.Tensor:
    """Return True for each token up to and including the first end-of-sequence token of its answer."""
    if ends is None:
        return torch.ones_like(tokens, dtype=torch.bool)
    is_end = torch.isin(tokens, torch.as_tensor(ends, device=tokens.device)).int()
    ends_before = is_end.cumsum(dim=1) - is_end
    return ends_before == 0
