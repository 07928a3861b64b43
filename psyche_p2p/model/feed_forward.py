"""The gated feed-forward network, and the views that run only some of its units.

A view decides which units a forward pass uses. `PrefixView` is a tier: narrow views of the full
matrices, so that backward leaves exact zeros in the suffix. Other views (helper mode here, the
suffix gate of distillation elsewhere) are built from the same `run_units`.

Shape suffixes: b batch, t position, d hidden, f FFN unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from psyche_p2p.config import ModelConfig


def relu_squared(x: Tensor) -> Tensor:
    """max(x, 0) squared (Primer, arXiv 2109.08668)."""
    return F.relu(x).square()


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu_squared": relu_squared,
}


class FeedForward(nn.Module):
    """`down(act(gate(x)) * up(x))` over the FFN units this model holds."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.width = width
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=config.bias)
        self.up_proj = nn.Linear(config.hidden_size, width, bias=config.bias)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=config.bias)
        self._activate = _ACTIVATIONS[config.activation]

    def forward(self, x_btd: Tensor) -> Tensor:
        h_btf = self._activate(self.gate_proj(x_btd)) * self.up_proj(x_btd)
        out_btd: Tensor = self.down_proj(h_btf)
        return out_btd

    def run_units(self, x_btd: Tensor, start: int, count: int) -> Tensor:
        """The contribution of the units `start` to `start + count` alone."""
        return self.run_weights(
            x_btd,
            self.gate_proj.weight.narrow(0, start, count),
            self.up_proj.weight.narrow(0, start, count),
            self.down_proj.weight.narrow(1, start, count),
        )

    def run_selected(self, x_btd: Tensor, units_f: Tensor) -> Tensor:
        """The contribution of the units with these indices."""
        return self.run_weights(
            x_btd,
            self.gate_proj.weight.index_select(0, units_f),
            self.up_proj.weight.index_select(0, units_f),
            self.down_proj.weight.index_select(1, units_f),
        )

    def run_weights(self, x_btd: Tensor, gate_fd: Tensor, up_fd: Tensor, down_df: Tensor) -> Tensor:
        """The network with these matrices in place of its own."""
        h_btf = self._activate(F.linear(x_btd, gate_fd)) * F.linear(x_btd, up_fd)
        return F.linear(h_btf, down_df)


class FfnView(Protocol):
    """How one forward pass uses the FFN units of a layer."""

    def run(self, ffn: FeedForward, x_btd: Tensor, layer: int) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class PrefixView:
    """The first `width` units of every layer: what a tier is."""

    width: int

    def run(self, ffn: FeedForward, x_btd: Tensor, layer: int) -> Tensor:
        del layer
        if self.width == ffn.width:
            out_btd: Tensor = ffn(x_btd)
            return out_btd
        return ffn.run_units(x_btd, 0, self.width)
