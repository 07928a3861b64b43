"""What a teacher says about a batch: for every token its largest logits and their logsumexp.

Logits are divided by the run's temperature and relative to each token's largest one, which costs
nothing (a softmax does not see a shift) and puts their precision where the probability is. Indices
rise, so that the same targets are the same bytes.

Shape suffixes: b sample, t position, n both, d hidden, k kept logit, v vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from psyche_p2p.config import DistillationConfig
from psyche_p2p.model.feed_forward import FfnView
from psyche_p2p.model.gradients import Precision
from psyche_p2p.model.targets import split_tokens
from psyche_p2p.model.transformer import Transformer

_POSITIONS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class TeacherTargets:
    """Targets for the last positions of every sample of a batch, as many as the run keeps."""

    indices_btk: Tensor
    logits_btk: Tensor
    logsumexp_bt: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Samples, positions, logits kept."""
        samples, positions, kept = self.indices_btk.shape
        return samples, positions, kept

    def samples(self, part: slice) -> TeacherTargets:
        """The targets of some of the samples."""
        return TeacherTargets(
            self.indices_btk[part], self.logits_btk[part], self.logsumexp_bt[part]
        )

    def mean_top_mass(self) -> float:
        """The probability that the kept logits claim, over all positions: `q_topk_mass`."""
        mass_bt = (self.logits_btk - self.logsumexp_bt.unsqueeze(2)).exp().sum(dim=2)
        return float(mass_bt.clamp(max=1.0).mean())

    def to_arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Indices, logits and logsumexp for a blob."""
        return (
            self.indices_btk.cpu().numpy(),
            self.logits_btk.cpu().numpy(),
            self.logsumexp_bt.cpu().numpy(),
        )

    @staticmethod
    def from_arrays(
        indices: NDArray[np.integer],
        logits: NDArray[np.floating],
        logsumexp: NDArray[np.floating],
        device: torch.device,
    ) -> TeacherTargets:
        """The targets of a blob that was found sound."""
        return TeacherTargets(
            torch.from_numpy(indices.astype(np.int64)).to(device),
            torch.from_numpy(logits.astype(np.float32)).to(device),
            torch.from_numpy(logsumexp.astype(np.float32)).to(device),
        )


@torch.no_grad()
def make_targets(
    model: Transformer,
    tokens_bt: Tensor,
    config: DistillationConfig,
    view: FfnView | None = None,
    *,
    micro_batch: int | None = None,
    precision: Precision = Precision.FLOAT32,
) -> TeacherTargets:
    """The targets for samples [b, t + 1], of each of which the last token is only predicted."""
    parts = []
    for part_bt in torch.split(tokens_bt, micro_batch or len(tokens_bt)):
        with precision.autocast(tokens_bt.device):
            hidden_btd = model.hidden(split_tokens(part_bt)[0], view)
            kept = config.kept_positions(hidden_btd.shape[1])
            # the output layer sees only what is kept: at a large vocabulary it is most of the work
            parts.append(_top(hidden_btd[:, -kept:], model.output_weight, config))
    indices, logits, sums = zip(*parts, strict=True)
    return TeacherTargets(torch.cat(indices), torch.cat(logits), torch.cat(sums))


def _top(
    hidden_btd: Tensor, weight_vd: Tensor, config: DistillationConfig
) -> tuple[Tensor, Tensor, Tensor]:
    indices, logits, sums = [], [], []
    for hidden_nd in torch.split(hidden_btd.flatten(0, 1), _POSITIONS_AT_ONCE):
        logits_nv = F.linear(hidden_nd, weight_vd).float() / config.temperature
        top = logits_nv.topk(config.top_k, dim=1)
        largest_n1 = top.values[:, :1]
        order_nk = top.indices.argsort(dim=1)
        indices.append(top.indices.gather(1, order_nk))
        logits.append((top.values - largest_n1).gather(1, order_nk))
        sums.append((logits_nv - largest_n1).logsumexp(dim=1))
    samples, positions = hidden_btd.shape[:2]
    return (
        torch.cat(indices).view(samples, positions, -1),
        torch.cat(logits).view(samples, positions, -1),
        torch.cat(sums).view(samples, positions),
    )
