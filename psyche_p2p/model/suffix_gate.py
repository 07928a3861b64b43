"""The suffix gate: a forward pass in which the FFN units behind a prefix count only in part.

Closed, it is the prefix alone, and nothing of the suffix is computed; open, it is the whole layer.
A gate belongs to a round of a run (`distill/schedule.py`), and a model that carries one applies it
wherever it runs at a tier wider than the prefix: training, teaching, evaluation. It is no parameter
and in no root; a checkpoint of a round notes it beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from psyche_p2p.errors import ModelError
from psyche_p2p.model.feed_forward import FeedForward, PrefixView


@dataclass(frozen=True, slots=True)
class SuffixGate:
    """How much the units behind the first `prefix_width` count: from 0 to 1."""

    prefix_width: int
    openness: float

    def __post_init__(self) -> None:
        if self.prefix_width < 1 or not 0 <= self.openness <= 1:
            raise ModelError(
                f"a suffix gate behind {self.prefix_width} units, open by {self.openness}, means "
                "nothing",
                "choose from 0 (closed) to 1 (open)",
            )


@dataclass(frozen=True, slots=True)
class GatedView:
    """The first `width` units of every layer, those behind the gate's prefix in part."""

    width: int
    gate: SuffixGate

    def run(self, ffn: FeedForward, x_btd: Tensor, layer: int) -> Tensor:
        del layer
        begin = self.gate.prefix_width
        prefix_btd = ffn.run_units(x_btd, 0, begin)
        suffix_btd = ffn.run_units(x_btd, begin, self.width - begin)
        return prefix_btd + self.gate.openness * suffix_btd


def fold_gate(state: Mapping[str, Tensor], gate: SuffixGate | None) -> dict[str, Tensor]:
    """Parameters that compute without a gate what these compute with it."""
    folded = dict(state)
    for name, tensor in state.items():
        if gate is not None and name.endswith(".mlp.down_proj.weight"):
            folded[name] = tensor.detach().clone()
            folded[name][:, gate.prefix_width :] *= gate.openness
    return folded


def gated_view(width: int, gate: SuffixGate | None) -> PrefixView | GatedView:
    """The view of a tier of this width behind a gate, which a narrow tier does not reach."""
    if gate is None or gate.openness == 1 or width <= gate.prefix_width:
        return PrefixView(width)
    if gate.openness == 0:
        return PrefixView(gate.prefix_width)
    return GatedView(width, gate)
