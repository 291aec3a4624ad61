"""One batch of inputs that were made clip by clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


def stack_inputs(
    rows: Sequence[Mapping[str, torch.Tensor]], pad_token: int, padding_side: Literal["left", "right"]
) -> dict[str, torch.Tensor]:
    """Put the inputs of several clips together.

    What has an entry for every token is padded on the side that is asked for, anything else (features, their masks)
    with zeros at its end.

    Parameters
    ----------
    rows : sequence of mapping
        What a processor made of one clip and its prompt each; the first dimension of every tensor counts clips, or
        windows of one.
    pad_token : int
    padding_side : {"left", "right"}

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
        of_tokens = all(row[name].shape == row["input_ids"].shape for row in rows)
        longest = [max(sizes) for sizes in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
        padded = []
        for tensor in tensors:
            gaps: list[int] = []  # before and after, from the last dimension to the second
            for size, here in zip(reversed(longest), reversed(tensor.shape[1:]), strict=True):
                gaps += [size - here, 0] if of_tokens and padding_side == "left" else [0, size - here]
            padded.append(pad(tensor, gaps, value=pad_token if name == "input_ids" else 0))
        stacked[name] = torch.cat(padded)
    return stacked
