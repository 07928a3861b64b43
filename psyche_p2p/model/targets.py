"""What a sample's tokens are read as, and which of them are predicted.

A token below zero stands for `~token` and is read but not predicted: instructions, padding. Samples
of plain text have none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from psyche_p2p.model.loss import IGNORED


def split_tokens(tokens_bt: Tensor) -> tuple[Tensor, Tensor]:
    """The model's inputs, and for each the token after it or IGNORED."""
    inputs_bt = torch.where(tokens_bt < 0, ~tokens_bt, tokens_bt)[:, :-1]
    targets_bt = tokens_bt[:, 1:]
    return inputs_bt, targets_bt.masked_fill(targets_bt < 0, IGNORED)


def count_predicted(tokens_bt: Tensor) -> int:
    """How many predictions the loss of these samples is the mean of; at least one."""
    return max(1, int((tokens_bt[:, 1:] >= 0).sum()))
