"""Stacking of the model inputs of single clips into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


def stack_inputs(
    rows: Sequence[Mapping[str, torch.Tensor]], pad_token: int, padding_side: Literal["left", "right"]
) -> dict[str, torch.Tensor]:
    """Stack the model inputs of clips into a batch, with padding.

    Tensors with one entry per token are padded on the given side. All others, such as features and their masks, are
    padded with zeros at the end.

    Parameters
    ----------
    rows : sequence of mapping of str to tensor
        Model inputs of each clip. The first axis of every tensor counts clips, or the windows of one clip.
    pad_token : int
        Id of the padding token.
    padding_side : {"left", "right"}
        Side on which prompts are padded.

    Examples
    --------
    >>> import torch
    >>> rows = [{"input_ids": torch.tensor([[5, 6, 7]])}, {"input_ids": torch.tensor([[8]])}]
    >>> stack_inputs(rows, 0, "left")["input_ids"]
    tensor([[5, 6, 7],
            [0, 0, 8]])
    """
    import torch
    from torch.nn.functional import pad

    stacked = {}
    for name in rows[0]:
        tensors = [row[name] for row in rows]
        is_per_token = all(row[name].shape == row["input_ids"].shape for row in rows)
        max_sizes = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        padded = []
        for tensor in tensors:
            padding: list[int] = []  # torch's order: (before, after) from the last axis to the second
            for max_size, size in zip(reversed(max_sizes), reversed(tensor.shape[1:]), strict=True):
                missing = max_size - size
                padding += [missing, 0] if is_per_token and padding_side == "left" else [0, missing]
            padded.append(pad(tensor, padding, value=pad_token if name == "input_ids" else 0))
        stacked[name] = torch.cat(padded)
    return stacked
